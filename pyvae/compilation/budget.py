"""The limit on the length of a recording."""

from pyro.poutine.messenger import Messenger

from pyvae.core.torch_internals import OperationCounter
from pyvae.errors import TraceError

__all__ = ["Budget"]


class Budget(Messenger):
    """Gives up a recording that is longer than the compiler can be asked for.

    Operations are counted in torch's dispatcher, and the error is raised where there are no frames of C++ between it
    and whoever catches it: at the next sample site, or by :meth:`check`.

    Args:
        most: operations of aten; None for any number.

    Raises:
        TraceError: at the first sample site after the operation that was too much.
    """

    def __init__(self, most: int | None) -> None:
        super().__init__()
        self._counter = OperationCounter(most)

    def check(self) -> None:
        """Raise the error if the budget is used up."""
        if self._counter.exhausted:
            raise TraceError(f"it takes more than {self._counter.most} operations, too many to be worth compiling")

    def __enter__(self) -> "Budget":
        self._counter.__enter__()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._counter.__exit__(*error)

    def _pyro_sample(self, msg: dict) -> None:
        self.check()
