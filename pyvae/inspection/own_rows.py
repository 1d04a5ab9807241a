"""Parameters that are one for each row: which they may be, and what to write instead."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from pyvae.errors import DataError, PairError

__all__ = ["ROWS_ADVICE", "of_rows", "rows_explained"]

ROWS_ADVICE = (
    "compute what is a row's own from that row, as a network of x does; or number the rows, data=(x, torch.arange(N)), "
    'write pyro.plate("data", N, subsample=index) in both programs, and take parameters[index] in the guide (of an '
    "AutoNormal, by its create_plates)"
)


@contextmanager
def rows_explained(pair: nn.Module, rows: int | None) -> Iterator[None]:
    """In this block a pair runs on some of so many rows; if its parameters may be for all of them, errors say so."""
    try:
        yield
    except (DataError, PairError) as error:
        names = [] if rows is None else of_rows(pair, rows)
        if not names or ROWS_ADVICE in str(error):
            raise
        raise type(error)(
            f"{error}. It was run on some of the {rows} rows, and the parameters {names} have as many: if these are "
            f"one for each row, {ROWS_ADVICE}; or train on all rows at once, batch_size={rows}"
        ) from error


def of_rows(pair: nn.Module, rows: int) -> list[str]:
    """The parameters that may be one for each of so many rows."""
    return [name for name, p in pair.named_parameters() if rows in p.shape[:1]]
