"""The check for distributions of vectors only."""

from collections.abc import Sequence

from pyvae.core.arguments import as_shape
from pyvae.errors import ArgumentError

__all__ = ["vector_length"]


def vector_length(event_shape: int | Sequence[int], minimum: int = 1) -> int:
    """The length d of vectors of this event shape.

    Raises:
        ArgumentError: if it is no vector's, or d is below ``minimum``.
    """
    shape = as_shape(event_shape)
    if len(shape) != 1 or shape[0] < minimum:
        raise ArgumentError(
            f"event_shape is {tuple(shape)}; expected that of a vector of at least {minimum}, such as "
            f"{max(minimum, shape.numel())}"
        )
    return shape[0]
