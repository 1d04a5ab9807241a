"""The progress of training: a bar in terminals and notebooks, lines in logs."""

import sys
from collections.abc import Callable
from time import monotonic
from types import TracebackType

from rich.console import Console
from tqdm.auto import tqdm

__all__ = ["TrainingProgress"]

_SHOWN = {
    "train_elbo": "ELBO",
    "train_reconstruction": "rec.",
    "train_kl": "KL",
    "validation_elbo": "val. ELBO",
}
_BAR = "{desc} |{bar}| {percentage:3.0f}%, {elapsed}, {remaining} left{postfix}"
_BAR_OF_UNKNOWN_LENGTH = "{desc}, batch {n_fmt}, {elapsed}{postfix}"
_SILENCE = 30.0  # seconds, at most


class TrainingProgress:
    """How far training is and how long it will take, with ELBO, reconstruction and KL in nats per datapoint.

    In terminals and notebooks a bar over all batches. Elsewhere, such as in the log of a job, a line for each tenth of
    the epochs, and in between one at least every 30 seconds.

    Args:
        epochs: of the whole run.
        batches: of an epoch, if that is known.
        done: epochs that lie behind.
        enabled: whether to show anything.
    """

    def __init__(self, epochs: int, batches: int | None, done: int, enabled: bool) -> None:
        self._console = Console(stderr=True, soft_wrap=True)
        drawn = self._console.is_jupyter or sys.stderr.isatty()
        self._lines = enabled and not drawn
        self._epochs, self._batches, self._done, self._before = epochs, batches, done, float(done)
        self._batch = 0
        self._told = monotonic()
        self._start = None if batches else self._told
        self._bar = tqdm(
            desc=f"epoch {done}/{epochs}",
            total=None if batches is None else epochs * batches,
            initial=done * (batches or 0),
            disable=not (enabled and drawn),
            bar_format=_BAR_OF_UNKNOWN_LENGTH if batches is None else _BAR,
            ncols=self._console.width,  # where a terminal does not know its size, tqdm shows nothing
            nrows=self._console.height,
        )

    def __enter__(self) -> "TrainingProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()

    def batch(self, elbo: Callable[[], float | None]) -> None:
        """One batch is done; ``elbo`` tells the mean ELBO of the epoch so far, if that is known."""
        self._batch += 1
        self._bar.update()
        if self._batches and self._start is None:  # the first batch takes longer than others
            self._start, self._before = monotonic(), self._behind()
        if self._lines and monotonic() - self._told >= _SILENCE:
            of = "" if self._batches is None else f"/{self._batches}"
            value = elbo()
            figures = "" if value is None else f"  ELBO {value:.2f} so far"
            self._tell(f"epoch {self._done + 1}/{self._epochs}  batch {self._batch}{of}{figures}{self._left()}")

    def epoch(self, row: dict[str, float]) -> None:
        """One epoch is done, with these metrics."""
        self._done, self._batch = int(row["epoch"]), 0
        figures = "  ".join(f"{label} {row[name]:.2f}" for name, label in _SHOWN.items() if name in row)
        self._bar.ncols = self._console.width  # of a window that may have another size by now
        self._bar.set_description_str(f"epoch {self._done}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(figures)
        tenth = self._done % max(1, self._epochs // 10) == 0 or self._done == self._epochs
        if self._lines and (tenth or monotonic() - self._told >= _SILENCE):
            self._tell(f"epoch {self._done}/{self._epochs}  {figures}{self._left()}")

    def _tell(self, line: str) -> None:
        self._told = monotonic()
        self._console.print(line, highlight=False)

    def _behind(self) -> float:
        """How many epochs lie behind."""
        return self._done + self._batch / self._batches if self._batches else float(self._done)

    def _left(self) -> str:
        """How much longer it will take at the speed so far, if that is known."""
        behind = self._behind()
        if self._start is None or behind == self._before or behind >= self._epochs:
            return ""
        seconds = (monotonic() - self._start) * (self._epochs - behind) / (behind - self._before)
        return f"  {_duration(seconds)} left"


def _duration(seconds: float) -> str:
    """Seconds as one or two numbers that a person reads.

    Example:
        >>> [_duration(s) for s in (7.4, 150, 12000)]
        ['7 s', '2 min 30 s', '3 h 20 min']
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
