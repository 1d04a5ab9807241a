"""The precision in which the networks of a pair compute."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyvae.core.torch_internals import pytree

__all__ = ["Precision", "computed_in"]

Precision = Literal["32-true", "bf16-mixed"]


class _Results32(TorchFunctionMode):
    """Turns results in bfloat16 into float32, so that densities and their sums are computed in float32."""

    def __torch_function__(
        self, function: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict | None = None
    ) -> Any:
        return pytree.tree_map(_as_float32, function(*args, **(kwargs or {})))


def _as_float32(value: Any) -> Any:
    return Tensor.float(value) if isinstance(value, Tensor) and value.dtype is torch.bfloat16 else value


@contextmanager
def computed_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """A block in which matrix products and convolutions take this precision; all else, their results too, is float32.

    Args:
        precision: "32-true" changes nothing; "bf16-mixed" takes factors in bfloat16, as torch.autocast does.
        device: where the block computes.

    Example:
        >>> import torch
        >>> with computed_in("bf16-mixed", torch.device("cpu")):
        ...     product = torch.full((2, 3), 1.001) @ torch.ones(3, 2)
        >>> product.dtype, product[0, 0].item()
        (torch.float32, 3.0)
    """
    if precision == "32-true":
        yield
        return
    with torch.autocast(device.type, torch.bfloat16, cache_enabled=False), _Results32():
        yield
