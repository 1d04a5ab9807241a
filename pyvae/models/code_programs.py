"""The sites of codes and of their vectors, in guides and in models."""

from collections.abc import Iterable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.errors import DataError

__all__ = ["code_vectors", "observe_codes", "sample_codes", "token_vectors"]


def code_vectors(quantizer: nn.Module, k: Tensor, prior: dist.Distribution) -> Tensor:
    """e_k of codes from such a prior, with the vectors before the grid: (…, dim, *grid)."""
    return quantizer.embed(k).movedim(-1, -1 - _grid_dim(quantizer, prior))


def token_vectors(quantizer: nn.Module, tokens: Tensor, prior: dist.Distribution) -> Tensor:
    """:func:`code_vectors` of codes from the user.

    Raises:
        DataError: if they are not integers, of another shape, or out of range.
    """
    _check_tokens(tokens, tuple(prior.event_shape), quantizer.num_codes)
    return code_vectors(quantizer, tokens.long(), prior)


def _grid_dim(quantizer: nn.Module, prior: dist.Distribution) -> int:
    """How many dimensions the grid has, without that of the levels of a residual quantizer."""
    return len(prior.event_shape) - len(quantizer.code_shape(()))


def observe_codes(
    level: str, quantizer: nn.Module, maps: Tensor, parameters: Iterable[Tensor]
) -> tuple[Tensor, Tensor]:
    """The guide's part: the codes of maps (N, dim, *grid), and their vectors.

    Those are the nearest codes, and the gradient of their vectors goes straight through; or codes that are drawn. In
    training mode the quantizer's loss is a factor, and its exponential moving averages (EMA) take note.

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
    if quantized.posterior is None:
        k = pyro.sample(f"k{level}", dist.Delta(quantized.codes, event_dim=quantized.codes.dim() - 1))
        vectors = quantized.vectors
    else:
        k = pyro.sample(f"k{level}", quantized.posterior.to_event(grid))
        vectors = quantizer.chosen(k)
    z = pyro.sample(f"z{level}", dist.Delta(vectors.movedim(-1, -1 - grid), event_dim=grid + 1))
    if quantizer.training:
        loss = quantized.loss.reshape(len(maps), -1).sum(-1)
        pyro.factor(f"vq_loss{level}", loss, has_rsample=True)
    return k, z


def sample_codes(level: str, quantizer: nn.Module, prior: dist.Distribution) -> Tensor:
    """The model's part: codes from their prior; gives their vectors, (…, dim, *grid)."""
    k = pyro.sample(f"k{level}", prior)
    z = dist.Delta(code_vectors(quantizer, k, prior), event_dim=_grid_dim(quantizer, prior) + 1)
    return pyro.sample(f"z{level}", z)


def _check_tokens(tokens: Tensor, shape: tuple[int, ...], num_codes: int) -> None:
    """Refuse what are no codes of this event shape.

    Raises:
        DataError: saying what came.
    """
    kinds = (torch.bool, torch.uint16, torch.uint32, torch.uint64)  # torch compares no wide unsigned integers
    if tokens.is_floating_point() or tokens.is_complex() or tokens.dtype in kinds or tuple(tokens.shape[1:]) != shape:
        raise DataError(
            f"got tokens of shape {tuple(tokens.shape)} ({tokens.dtype}); expected ints of shape (…, "
            f"{', '.join(map(str, shape))})"
        )
    if len(tokens) and not 0 <= int(tokens.min()) <= int(tokens.max()) < num_codes:
        raise DataError(f"got tokens from {int(tokens.min())} to {int(tokens.max())}; expected 0 to {num_codes - 1}")
