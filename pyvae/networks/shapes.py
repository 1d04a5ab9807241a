"""Shapes of events, and the one check that a network's output has the expected shape."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae.core.arguments import as_shape
from pyvae.errors import ArgumentError

__all__ = ["as_shape", "as_widths", "check_event", "doubled"]


def as_widths(widths: Sequence[int], name: str) -> list[int]:
    """``widths`` as a list of positive ints, possibly empty.

    Raises:
        ArgumentError: if they are not.
    """
    if not isinstance(widths, list | tuple):
        raise ArgumentError(f"{name} is {widths!r}; expected a list of positive ints, such as [256]")
    return list(as_shape(widths, name)) if widths else []


def check_event(network: nn.Module, x: Tensor, shape: Sequence[int]) -> None:
    """Refuse an input that does not end in ``shape``.

    Raises:
        ArgumentError: naming the network and the shapes.
    """
    if tuple(x.shape[max(0, x.dim() - len(shape)) :]) != tuple(shape):
        raise ArgumentError(
            f"{type(network).__name__} got shape {tuple(x.shape)}; expected (..., {', '.join(map(str, shape))})"
        )


def doubled(shape: torch.Size) -> torch.Size:
    """``shape`` with its first dimension doubled, for means and log-variances."""
    return torch.Size([2 * shape[0], *shape[1:]])
