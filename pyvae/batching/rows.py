"""The arguments of a pair's programs that have one row per datapoint."""

from collections.abc import Collection, Sequence

from torch import Tensor

__all__ = ["PROBE_ROWS", "columns_of", "copies", "rows_of"]

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
