"""Rows of data: which arguments of a pair's programs have them, and some to try a pair on."""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from pyvae.core.tensors import extreme_rows
from pyvae.errors import DataError

__all__ = ["PROBE_ROWS", "check_alike", "columns_of", "copies", "described", "example_of", "example_rows", "rows_of"]

PROBE_ROWS = 11  # of a trial run: few, and unlikely to be the size of another plate


def columns_of(args: Sequence[Tensor]) -> tuple[int, ...]:
    """The positions of the arguments that have one row per datapoint, as many as the first."""
    return tuple(i for i, a in enumerate(args) if isinstance(a, Tensor) and a.dim() and len(a) == len(args[0]))


def rows_of(args: Sequence[Tensor], rows: slice | Tensor, columns: Collection[int] | None = None) -> list[Tensor]:
    """The given rows of every argument that has one row per datapoint; ``columns`` as for :func:`copies`."""
    columns = columns_of(args) if columns is None else columns
    return [a[rows] if i in columns else a for i, a in enumerate(args)]


def copies(args: Sequence[Tensor], count: int, columns: Collection[int] | None = None) -> list[Tensor]:
    """The arguments with all data repeated: all rows once, then all again.

    Args:
        args: the arguments of a pair's programs.
        count: how many times.
        columns: which of them have one row per datapoint; needed where these are a few rows of the data, since a
            constant may happen to have as many.
    """
    columns = columns_of(args) if columns is None else columns
    return [a.repeat(count, *[1] * (a.dim() - 1)) if i in columns else a for i, a in enumerate(args)]


def example_rows(tensors: Sequence[Tensor], count: int = PROBE_ROWS) -> Tensor:
    """Indices of about so many rows, those with the smallest and the largest number of each tensor among them.

    A label or an intensity that is out of range anywhere in the data is then out of range in the example.
    """
    size = len(tensors[0])
    if size <= count:
        return torch.arange(size)
    extremes = extreme_rows(tensors)
    return torch.cat([extremes, torch.arange(count)])[: max(count, len(extremes))]


def example_of(args: Sequence[Tensor], count: int = PROBE_ROWS) -> tuple[list[Tensor], tuple[int, ...]]:
    """The arguments for about so many rows (see :func:`example_rows`), and which of them have rows."""
    columns = columns_of(args)
    return rows_of(args, example_rows([args[i] for i in columns], count), columns), columns


def described(args: Sequence[Tensor]) -> str:
    """Shapes and types, for people."""
    return ", ".join(f"{tuple(a.shape)} {str(a.dtype).removeprefix('torch.')}" for a in args)


def check_alike(args: Sequence[Tensor], first: Sequence[Tensor], where: str) -> None:
    """Refuse a batch whose tensors are of another number, type or number of dimensions than those of the first.

    Raises:
        DataError: naming the batch, and the shapes of both.
    """
    kinds = [[(a.dtype, a.dim()) for a in tensors] for tensors in (args, first)]
    if kinds[0] != kinds[1]:
        raise DataError(
            f"{where} is {described(args)}, where the first is {described(first)}; expected the same number of "
            "tensors, types and dimensions in each batch"
        )
