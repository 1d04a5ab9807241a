"""Ctrl-C while a pair is trained."""

import signal
import sys
import threading
from contextlib import suppress
from types import FrameType, TracebackType

__all__ = ["Interrupted", "Interruption"]


class Interrupted(BaseException):
    """Training ends after this batch, as someone has pressed Ctrl-C."""


class Interruption:
    """Lets the first Ctrl-C wait for the end of the batch; the second one stops at once, as elsewhere.

    Outside of a ``with`` block, in threads other than the main one, and where a program has a handler of its own,
    nothing is caught.

    Args:
        enabled: whether to catch it. One of several processes that wait for each other cannot end alone.
    """

    def __init__(self, enabled: bool = True) -> None:
        self._enabled = enabled and threading.current_thread() is threading.main_thread()
        self._asked = self._caught = False

    def __enter__(self) -> "Interruption":
        self._caught = self._enabled and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._caught:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._caught:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(RuntimeError):  # of a stream that was being written to when the signal came
            print("\ninterrupted: training ends after this batch; Ctrl-C again stops at once", file=sys.stderr)

    def check(self) -> None:
        """End training, if that was asked for.

        Raises:
            Interrupted: if Ctrl-C was pressed.
        """
        if self._asked:
            raise Interrupted
