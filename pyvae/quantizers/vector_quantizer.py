"""Quantization by the nearest vector of a codebook."""

from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from pyvae.core.arguments import check_int, check_positive
from pyvae.core.random_streams import draw_seed
from pyvae.errors import ArgumentError, DataError
from pyvae.quantizers.quantizer import Quantized, Quantizer, nearest_codes, straight_through

__all__ = ["VectorQuantizer"]

#: buffers, and the two that each was before 0.1
_BEFORE = (
    ("averages", "counts", "sums"),
    ("pending", "noted_counts", "noted_sums"),
    ("pending_rows", "noted_weights", "noted_rows"),
)


class VectorQuantizer(Quantizer):
    r"""The quantizer of VQ-VAE: each vector becomes the nearest one of a learned codebook.

    .. math:: k = \operatorname{argmin}_j \lVert z_e - e_j \rVert^2, \qquad
        \text{loss } \lVert \operatorname{sg}[z_e] - e_k \rVert^2 + \beta \lVert z_e - \operatorname{sg}[e_k] \rVert^2

    With a ``decay`` γ the codebook learns from exponential moving averages (EMA) instead of the loss's first term,
    which is left out: of the n_j vectors of a batch that code j is nearest to, with sum s_j,

    .. math:: N_j ← γ N_j + (1 − γ) n_j, \quad m_j ← γ m_j + (1 − γ) s_j, \quad e_j ← m_j / N_j \text{ where } n_j > 0.

    The others keep their place. With γ = 0 this is a step of Lloyd's algorithm. :class:`~pyvae.quantizers.Quantizer`
    says how the guide makes a step. The buffers ``averages``, of rows (N_j, m_j), and ``pending``, of rows (n_j, s_j),
    are of float32 at least, also where the module becomes bfloat16; what is pending is linear in the batch, so that its
    mean over processes is that of the whole batch.

    Args:
        num_codes: K, the number of code vectors.
        dim: length of z_e.
        commitment: β.
        decay: γ in [0, 1), or None to learn the codebook by the loss's gradient.
        cosine: whether z_e and the codes are first brought to length 1; gradients pass through that.
        code_dim: length of the code vectors: z_e is mapped linearly down to it, and its code vector up again. Distances
            and loss are those down there, and so is the derivative that is the identity. None for ``dim`` and no maps.
        revive_below: a code whose N_j falls below is moved to a vector of the batch, drawn at random, and counts as
            used as the average code is. It should lie well below the vectors per batch and code. None for never.

    Raises:
        ArgumentError: for an argument out of its range, and for ``revive_below`` without ``decay``.
        PairError: when called, if the vectors have another length.

    References:
        van den Oord et al., *Neural discrete representation learning*, 2017, equation 3 and appendix A.1; Dhariwal et
        al., *Jukebox*, 2020, section 3.1 (revival); Yu et al., *Vector-quantized image modeling with improved VQGAN*,
        2022, section 3.2 (low dimension, length 1).

    Example:
        >>> quantizer = VectorQuantizer(num_codes=512, dim=64, decay=0.99)
        >>> quantized = quantizer(torch.randn(5, 8, 8, 64))
        >>> quantized.codes.shape, quantized.vectors.shape, quantized.loss.shape
        (torch.Size([5, 8, 8]), torch.Size([5, 8, 8, 64]), torch.Size([5, 8, 8]))
        >>> torch.equal(quantizer.embed(quantized.codes), quantized.vectors)
        True
    """

    def __init__(
        self,
        num_codes: int,
        dim: int,
        commitment: float = 0.25,
        decay: float | None = None,
        cosine: bool = False,
        code_dim: int | None = None,
        revive_below: float | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("num_codes", num_codes), ("dim", dim), ("code_dim", 1 if code_dim is None else code_dim)):
            check_int(name, value)
        if commitment != 0:
            check_positive("commitment", commitment)
        if decay is not None and (isinstance(decay, bool) or not isinstance(decay, Real) or not 0 <= decay < 1):
            raise ArgumentError(f"decay is {decay!r}; expected a number in [0, 1), or None for learning by gradient")
        if revive_below is not None:
            check_positive("revive_below", revive_below)
            if decay is None:
                raise ArgumentError(f"revive_below is {revive_below!r} without decay: it looks at the moving averages")
        self.num_codes, self.dim, self.commitment = num_codes, dim, commitment
        self.decay, self.cosine, self.revive_below = decay, cosine, revive_below
        self.ema = decay is not None
        self.project_in = None if code_dim is None else nn.Linear(dim, code_dim)
        self.project_out = None if code_dim is None else nn.Linear(code_dim, dim)
        vectors = self._scaled(torch.empty(num_codes, code_dim or dim).uniform_(-1 / num_codes, 1 / num_codes))
        if decay is None:
            self.codebook = nn.Parameter(vectors)
        else:
            self._make_averages(vectors)

    def _make_averages(self, vectors: Tensor) -> None:
        averages = torch.cat([torch.ones(self.num_codes, 1), vectors], 1)
        self.register_buffer("codebook", vectors)
        self.register_buffer("averages", averages)
        self.register_buffer("pending", torch.zeros_like(averages))
        self.register_buffer("pending_checksum", torch.zeros((), dtype=torch.int64))
        if self.revive_below is not None:
            self.register_buffer("pending_rows", torch.zeros_like(averages))

    @property
    def counts(self) -> Tensor:
        """The averages of counts, N, of shape (K,)."""
        return self.averages[:, 0]

    @property
    def sums(self) -> Tensor:
        """The averages of sums, m, of shape (K, length of the code vectors)."""
        return self.averages[:, 1:]

    def _apply(self, fn: Callable, recurse: bool = True) -> "VectorQuantizer":
        """As of any module, but averages are not rounded to 16 bits, of which small changes would be lost."""
        kept = {n: b for n, b in self._buffers.items() if n in ("averages", "pending", "pending_rows")}
        super()._apply(fn, recurse)
        for name, before in kept.items():
            after = self._buffers[name]
            self._buffers[name] = before.to(after.device) if after.element_size() < 4 else after
        return self

    def renew_state(self, state: dict[str, Tensor], prefix: str) -> None:
        """Rewrite a state dict in which counts and vectors are tensors of their own, as pyvae wrote it before 0.1."""
        for name, *older in _BEFORE:
            counts, vectors = (state.get(prefix + n) for n in older)
            if counts is not None and vectors is not None and counts.shape == vectors.shape[:1]:
                state[prefix + name] = _joined(counts, vectors.to(torch.promote_types(vectors.dtype, torch.float32)))
                for n in older:
                    del state[prefix + n]
        if prefix + "noted_step" in state:
            state[prefix + "pending_checksum"] = state.pop(prefix + "noted_step")

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
        self.renew_state(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *others)

    def extra_repr(self) -> str:
        """The arguments."""
        names = ("num_codes", "dim", "commitment", "decay", "cosine", "revive_below")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

    def forward(self, z_e: Tensor) -> Quantized:
        """The nearest codes, their vectors, and the loss."""
        self.check(z_e)
        u, codebook = self._inputs(z_e), self._scaled(self.codebook)
        codes = nearest_codes(u, codebook)
        e = F.embedding(codes, codebook)
        loss = self.commitment * (u - e.detach()).square().sum(-1)
        if not self.ema:
            loss = loss + (u.detach() - e).square().sum(-1)
        if self.project_out is None:
            return Quantized(codes, straight_through(e, u), loss)
        return Quantized(codes, straight_through(self.embed(codes), self.project_out(straight_through(e, u))), loss)

    @torch.no_grad()
    def embed(self, codes: Tensor) -> Tensor:
        """The code vectors of int64 codes, of shape (…, dim), without a gradient."""
        codebook = self._scaled(self.codebook)
        # the whole codebook is mapped: a product of another shape may be rounded otherwise
        return F.embedding(codes, codebook if self.project_out is None else self.project_out(codebook))

    def update(self, z_e: Tensor, codes: Tensor) -> None:
        """Make pending how many vectors have each code, and their sum; those that are not finite do not count."""
        if self.learning:
            self.check(z_e, codes)
            self._make_pending(z_e, codes.flatten())

    @torch.no_grad()
    def _make_pending(self, z_e: Tensor, codes: Tensor) -> None:
        u = self._inputs(z_e).flatten(0, -2).to(self.pending.dtype)
        finite = u.isfinite().all(-1)
        u = torch.where(finite[:, None], u, 0)
        members = torch.zeros(self.num_codes, dtype=torch.int64, device=u.device).index_add_(0, codes, finite.long())
        sums = torch.zeros_like(self.sums).index_add_(0, codes, u)
        self.pending.copy_(_joined(members, sums))
        if self.revive_below is None:
            return
        places = torch.arange(self.num_codes, device=u.device)
        rows = torch.randperm(len(u), device=u.device)[places % len(u)]
        # in each step each code has one process that offers it a vector: the mean over processes is that vector
        rank, count = _process()
        offered = finite[rows] & ((places + self.pending_checksum) % count == rank)
        self.pending_rows.copy_(_joined(offered, u[rows] * offered[:, None]))

    def commit(self, step: Tensor | None) -> None:
        """Take over what is pending, unless ``step`` is the number that came with the last call."""
        if self.learning:
            self._take_over(step)

    @torch.no_grad()
    def _take_over(self, step: Tensor | None) -> None:
        new = self.pending[:, 0].sum() > 0
        if step is not None:
            new = new & (step != self.pending_checksum)
            self.pending_checksum.copy_(step)
        averages = self.decay * self.averages + (1 - self.decay) * self.pending
        counts, sums = averages[:, :1], averages[:, 1:]
        vectors = torch.where(self.pending[:, :1] > 0, self._scaled(sums / counts), self.codebook)
        if self.revive_below is not None:
            offers = self.pending_rows[:, :1]
            dead = (counts < self.revive_below) & (offers > 0)
            rows, usual = self._scaled(self.pending_rows[:, 1:] / offers), counts.mean()
            averages = torch.where(dead, _joined(usual.expand(self.num_codes), usual * rows), averages)
            vectors = torch.where(dead, rows, vectors)
        self.averages.copy_(torch.where(new, averages, self.averages))
        self.codebook.copy_(torch.where(new, vectors, self.codebook))
        self.pending.mul_(~new)

    @torch.no_grad()
    def initialize(self, z_e: Tensor) -> None:
        """Move the codebook to the centres that scikit-learn's k-means, seeded from torch's stream, finds in a batch.

        Raises:
            DataError: if fewer than ``num_codes`` of the vectors are finite.
        """
        from sklearn.cluster import KMeans

        self.check(z_e)
        rows = self._inputs(z_e).reshape(-1, self.codebook.shape[-1])
        rows = rows[rows.isfinite().all(-1)].to(torch.promote_types(self.codebook.dtype, torch.float32))
        if len(rows) < self.num_codes:
            raise DataError(f"the batch has {len(rows)} finite vectors; expected at least num_codes={self.num_codes}")
        found = KMeans(self.num_codes, n_init=1, random_state=draw_seed()).fit(rows.cpu().numpy())
        self.codebook.copy_(self._scaled(torch.from_numpy(found.cluster_centers_).to(self.codebook)))
        if self.ema:
            members = torch.from_numpy(found.labels_).bincount(minlength=self.num_codes).to(self.codebook.device)
            self.averages.copy_(_joined(members, members[:, None] * self.codebook.to(self.averages.dtype)))
            self.pending.zero_()

    def _inputs(self, z_e: Tensor) -> Tensor:
        """Where z_e lies among the code vectors."""
        return self._scaled(z_e if self.project_in is None else self.project_in(z_e))

    def _scaled(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=-1) if self.cosine else vectors


def _joined(counts: Tensor, vectors: Tensor) -> Tensor:
    """Rows (count, vector)."""
    return torch.cat([counts[:, None].to(vectors.dtype), vectors], 1)


def _process() -> tuple[int, int]:
    """The number of this process among those that train together, and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()
