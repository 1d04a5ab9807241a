"""The errors that pyvae raises for a user's mistakes: each says what was given, what was expected and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "RUN_ERRORS",
    "ArgumentError",
    "CheckpointError",
    "DataError",
    "NonFiniteError",
    "PairError",
    "PyvaeError",
    "RunError",
    "TraceError",
    "errors_as",
    "first_lines",
]

#: what a program written by a user raises when it is given arguments that it cannot take
RUN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


class PyvaeError(Exception):
    """The base of all errors of pyvae: catch it to catch them all."""


class ArgumentError(PyvaeError, ValueError):
    """An argument is of the wrong type or out of its range."""


class DataError(PyvaeError, ValueError):
    """The data are empty, of the wrong type, shape or range, or not finite."""


class PairError(PyvaeError, ValueError):
    """A model/guide pair, or a component of one, breaks its contract."""


class CheckpointError(PyvaeError, RuntimeError):
    """A file of weights cannot be written, read, or does not belong to this pair or run."""


class NonFiniteError(PyvaeError, ArithmeticError):
    """Training or an evaluation met NaN or infinity; the message names the site, or the parameter, and where."""


class RunError(PyvaeError, RuntimeError):
    """A run directory is missing, incomplete, unwritable, or would be overwritten."""


class TraceError(PyvaeError, RuntimeError):
    """A pair's programs cannot be recorded as a graph of tensor operations, or the graph cannot be compiled."""


@contextmanager
def errors_as(kind: type[PyvaeError], what: str, advice: str = "") -> Iterator[None]:
    """Errors of a user's program in this block as errors of ours: what failed, the message, advice.

    Errors of pyvae pass as they are.
    """
    try:
        yield
    except PyvaeError:
        raise
    except RUN_ERRORS as error:
        raise kind(f"{what}: {first_lines(error)}{advice}") from error


def first_lines(error: Exception) -> str:
    """An error's message without the tensor that torch, and the table of shapes that Pyro appends."""
    return str(error).split("Trace Shapes:")[0].partition(":\ntensor(")[0].strip()
