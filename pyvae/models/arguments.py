"""The arguments of all pairs' programs: data x, labels y, a size."""

from torch import Tensor, nn

from pyvae.core.arguments import check_int
from pyvae.core.tensors import check_tensors
from pyvae.errors import DataError
from pyvae.inspection.inspection import takes_missing

__all__ = ["check_given", "check_numbers", "count_data", "embed"]


def check_given(x: Tensor | None) -> None:
    """Refuse to infer latents without data."""
    if x is None:
        raise DataError("the guide got no x; expected the data whose latents it infers")


def check_numbers(pair: nn.Module, x: Tensor, y: Tensor | None = None) -> None:
    """Refuse data and labels that differ in number, or are not finite, where no density would notice.

    Raises:
        DataError: saying what is wrong, and in which row.
    """
    if not isinstance(x, Tensor):
        raise DataError(f"got a {type(x).__name__}; expected a tensor with one row per datapoint")
    count_data(x, y, 1)
    check_tensors((x,) if y is None else (x, y), "the data", takes_missing(pair))


def embed(context: nn.Module | None, y: Tensor | None) -> tuple[Tensor, ...]:
    """The context of labels as () or one tensor."""
    if (context is None) != (y is None):
        raise DataError(
            "got no labels y, but the pair has a context: call it with (x, y)"
            if y is None
            else "got labels y, but the pair has no context: call it with x alone, or build it with context=…"
        )
    return () if context is None else (context(y),)


def count_data(x: Tensor | None, y: Tensor | None, size: int) -> int:
    """The number of datapoints, from x or y where they are given."""
    if y is not None and not (isinstance(y, Tensor) and y.dim()):
        raise DataError(f"labels are {y!r}; expected a tensor of one label per datapoint: torch.tensor([3, 7])")
    if isinstance(size, Tensor):
        raise DataError("got three tensors; expected x and labels y alone (a third argument is the number of draws)")
    if x is not None and y is not None and len(x) != len(y):
        raise DataError(f"got {len(x)} datapoints and {len(y)} labels; expected as many labels as datapoints")
    if x is None and y is None:
        check_int("size", size)
    return len(x) if x is not None else len(y) if y is not None else size
