"""The sites of codes and of their vectors, in guides and in models."""

from collections.abc import Iterable

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from pyvae.errors import DataError

__all__ = ["check_tokens", "code_vectors", "observe_codes", "sample_codes"]


def code_vectors(quantizer: nn.Module, k: Tensor, grid: int) -> Tensor:
    """e_k of codes on a grid of so many dimensions, with the vectors before it: (…, dim, *grid)."""
    return quantizer.embed(k).movedim(-1, -1 - grid)


def observe_codes(
    level: str, quantizer: nn.Module, maps: Tensor, parameters: Iterable[Tensor]
) -> tuple[Tensor, Tensor]:
    """The guide's part: the codes nearest to maps (N, dim, *grid), and their vectors, with a straight-through gradient.

    In training mode the quantizer's loss is a factor, and its running averages take note.

    Args:
        level: what the names of the sites end in.
        quantizer: of vectors of length dim.
        maps: what the encoder gives.
        parameters: those that every step of the optimizer changes.
    """
    z_e, grid = maps.movedim(1, -1), maps.dim() - 2
    quantizer.advance(parameters)
    quantized = quantizer(z_e)
    quantizer.update(z_e, quantized.codes)
    k = pyro.sample(f"k{level}", dist.Delta(quantized.codes, event_dim=quantized.codes.dim() - 1))
    z = pyro.sample(f"z{level}", dist.Delta(quantized.vectors.movedim(-1, -1 - grid), event_dim=grid + 1))
    if quantizer.training:
        loss = quantized.loss.reshape(len(maps), -1).sum(-1)
        pyro.factor(f"vq_loss{level}", loss, has_rsample=True)
    return k, z


def sample_codes(level: str, quantizer: nn.Module, prior: dist.Distribution) -> Tensor:
    """The model's part: codes from their prior; gives their vectors, (…, dim, *grid)."""
    k = pyro.sample(f"k{level}", prior)
    grid = len(prior.event_shape) - len(quantizer.code_shape(()))  # without the levels of a residual quantizer
    return pyro.sample(f"z{level}", dist.Delta(code_vectors(quantizer, k, grid), event_dim=grid + 1))


def check_tokens(tokens: Tensor, shape: tuple[int, ...], num_codes: int) -> None:
    """Refuse what are no codes of this event shape.

    Raises:
        DataError: saying what came.
    """
    if tokens.is_floating_point() or tuple(tokens.shape[1:]) != shape:
        raise DataError(
            f"got tokens of shape {tuple(tokens.shape)} ({tokens.dtype}); expected ints of shape (…, "
            f"{', '.join(map(str, shape))})"
        )
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < num_codes:
        raise DataError(f"got tokens from {int(tokens.min())} to {int(tokens.max())}; expected 0 to {num_codes - 1}")
