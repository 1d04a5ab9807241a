"""What a quantizer is, and the search for the nearest code vector."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from pyvae.errors import ArgumentError, PairError

__all__ = ["Quantized", "Quantizer", "checksum", "nearest_codes", "straight_through"]

#: how many distances the search holds at once: few enough to be still in the cache when they are compared
_BLOCK = 2**22
#: by the bytes of an element
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, eq=False)
class Quantized:
    """What a quantizer makes of vectors z_e of shape (…, dim).

    Attributes:
        codes: the indices k, int64, of shape (…), or (…, levels) for a residual quantizer.
        vectors: of shape (…, dim); by value exactly ``embed(codes)``, with the straight-through gradient.
        loss: of shape (…), what the codebook and the encoder pay for their distance, one figure per vector.
        posterior: what codes are drawn from in a guide, of batch shape (…); None where ``codes`` are the only choice.
    """

    codes: Tensor
    vectors: Tensor
    loss: Tensor
    posterior: Distribution | None = None


class Quantizer(nn.Module):
    r"""The base of quantizers, modules that are called with vectors and give :class:`Quantized`.

    The map is z_e ↦ (k, e_k), with the vectors in the last dimension.

    In training the gradient takes e_k for z_e: the vectors are sg[e_k] + (z_e − sg[z_e]), which is e_k to the last bit
    and has the identity for a derivative. A Delta at ``embed(codes)`` therefore gives them log-density 0.

    Calling a quantizer changes nothing. What one learns by exponential moving averages (EMA), it learns in three steps
    of the guide, of which only ``forward`` does anything outside of training mode, or under ``torch.no_grad``::

        quantizer.advance(pair.parameters())     # takes over what is pending, if the optimizer has made a step since
        quantized = quantizer(z_e)
        quantizer.update(z_e, quantized.codes)   # makes this batch's statistics pending; changes no code vector

    A run of the guide leaves its batch's statistics pending, in place of those that were. The first run that finds
    other parameters than the run before moves the averages by them. So all runs of the guide and of the model between
    two steps of the optimizer see one codebook, and the averages move once per step, however often an objective runs
    the guide or a backward pass. What is pending are buffers, and so is a checksum of the parameters by which a step
    is seen: a checkpoint, a recorded step and several processes have them like all others.

    Attributes:
        num_codes: K, the number of values that a code can take.
        dim: length of the vectors.
        ema: whether it learns by exponential moving averages (EMA); if not, ``advance`` and ``update`` do nothing.
        stochastic: whether guides draw the codes, from a ``posterior``.
    """

    num_codes: int
    dim: int
    ema: bool = False
    stochastic: bool = False

    def forward(self, z_e: Tensor) -> Quantized:
        """Codes, vectors and losses of z_e, of shape (…, dim)."""
        raise NotImplementedError

    def embed(self, codes: Tensor) -> Tensor:
        """The code vectors of int64 codes, of shape (…, dim), without a gradient."""
        raise NotImplementedError

    def chosen(self, codes: Tensor) -> Tensor:
        """The code vectors of codes that were drawn, with a gradient; for those that have a ``posterior``."""
        raise NotImplementedError

    def code_shape(self, positions: Sequence[int]) -> torch.Size:
        """The shape of the codes of vectors of shape (\\*positions, dim)."""
        return torch.Size(positions)

    @property
    def learning(self) -> bool:
        """Whether there are averages that are to move: in training mode, and not under ``torch.no_grad``."""
        return self.ema and self.training and torch.is_grad_enabled()

    def advance(self, watched: Iterable[Tensor] | None = None) -> None:
        """Take over what is pending, if an optimizer has made a step since.

        Args:
            watched: tensors of which every step of the optimizer changes at least one, such as all parameters of the
                pair; without them each call counts as a step.
        """
        if self.learning:
            self.commit(None if watched is None else checksum(watched))

    def commit(self, step: Tensor | None) -> None:
        """Take over what is pending, unless ``step`` is the number that came with the last call."""

    def update(self, z_e: Tensor, codes: Tensor) -> None:
        """Make the statistics of the vectors and their codes pending, in place of what was."""

    def check(self, z_e: Tensor, codes: Tensor | None = None) -> None:
        """Refuse vectors of another length, and codes that are not theirs.

        Raises:
            PairError: saying what came.
        """
        name = type(self).__name__
        if not z_e.dim() or z_e.shape[-1] != self.dim:
            raise PairError(f"{name} was given vectors of shape {tuple(z_e.shape)}; expected (..., {self.dim})")
        expected = (*z_e.shape[:-1], *self.code_shape(()))
        if codes is not None and codes.shape != expected:
            raise PairError(f"{name} was given codes of shape {tuple(codes.shape)}; expected {expected}")


def straight_through(vectors: Tensor, z_e: Tensor) -> Tensor:
    """``vectors``, whose derivative with respect to z_e is the identity."""
    return vectors.detach() + (z_e - z_e.detach())


def checksum(tensors: Iterable[Tensor]) -> Tensor:
    """The sum of the tensors' bits, as an int64 tensor: another one after an optimizer's step, which no rounding hides.

    Raises:
        ArgumentError: if there are no tensors.

    Example:
        >>> x = torch.ones(3)
        >>> before = checksum([x])
        >>> bool(checksum([x]) == before), bool(checksum([x + 1e-7]) == before)
        (True, False)
    """
    numbers = [torch.view_as_real(t.detach()) if t.is_complex() else t.detach() for t in tensors]
    if not numbers:
        raise ArgumentError("watched is empty; expected the tensors that the optimizer changes")
    return torch.stack([t.view(_INTEGERS[t.element_size()]).sum() for t in numbers]).sum()


@torch.no_grad()
def nearest_codes(z: Tensor, codebook: Tensor) -> Tensor:
    """The nearest code of each vector, argmin_k ‖z − e_k‖², in full precision and blocks of bounded memory.

    Of those equally near, it is the first.

    Args:
        z: vectors, of shape (…, dim).
        codebook: the code vectors e, of shape (K, dim).

    Returns:
        int64 codes in [0, K), of shape (…), whatever z is.

    Example:
        >>> nearest_codes(torch.tensor([[0.1], [0.9]]), torch.tensor([[0.0], [1.0], [1.0]]))
        tensor([0, 1])
    """
    dtype = torch.promote_types(torch.promote_types(z.dtype, codebook.dtype), torch.float32)
    rows, codebook = z.detach().reshape(-1, z.shape[-1]).to(dtype), codebook.detach().to(dtype)
    centre = codebook.mean(0)  # far from the origin, products are larger than their differences
    centred = codebook - centre
    bias, factors = centred.square().sum(-1) / 2, -centred.T
    blocks = rows.split(max(1, _BLOCK // max(codebook.shape)))
    # made once: glibc's heap grows with each aligned block that is freed and made again; and torch.autocast, which
    # would round the products, leaves alone what has its place given
    shifted, distances = torch.empty_like(blocks[0]), rows.new_empty(len(blocks[0]), len(codebook))
    codes = []
    for block in blocks:
        torch.sub(block, centre, out=shifted[: len(block)])
        torch.addmm(bias, shifted[: len(block)], factors, out=distances[: len(block)])
        codes.append(distances[: len(block)].argmin(-1))
    return torch.cat(codes).view(z.shape[:-1])
