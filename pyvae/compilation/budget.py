"""How long a recording may become."""

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from pyvae.errors import TraceError

__all__ = ["Budget"]


class Budget(TorchDispatchMode):
    """Gives up a recording that is longer than the compiler can be asked for.

    Args:
        most: operations of aten; None for any number.

    Raises:
        TraceError: by the operation that is too much.
    """

    def __init__(self, most: int | None) -> None:
        super().__init__()
        self._most, self._made = most, 0

    def __torch_dispatch__(
        self, operation: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict | None = None
    ) -> Any:
        self._made += 1
        if self._most is not None and self._made > self._most:
            raise TraceError(f"it takes more than {self._most} operations, too many to be worth compiling")
        return operation(*args, **(kwargs or {}))
