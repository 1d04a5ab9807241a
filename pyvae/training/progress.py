"""The progress of training, in the terminal."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["TrainingProgress"]

_SHOWN = {
    "train_elbo": "ELBO",
    "train_reconstruction": "rec.",
    "train_kl": "KL",
    "validation_elbo": "val. ELBO",
}


class TrainingProgress:
    """A bar over all batches, with ELBO, reconstruction and KL in nats per datapoint of the epoch behind it.

    Where the output is no terminal, one line per tenth of the epochs is printed instead.
    """

    def __init__(self, epochs: int, batches: int | None, done: int, enabled: bool) -> None:
        self._console = Console(stderr=True, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (enabled and self._console.is_terminal),
        )
        total = None if batches is None else epochs * batches
        self._task = self._bar.add_task("training", total=total, completed=done * (batches or 0))
        self._lines = enabled and not self._console.is_terminal
        self._epochs = epochs

    def __enter__(self) -> "TrainingProgress":
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, traceback)

    def batch(self) -> None:
        """One batch is done."""
        self._bar.advance(self._task)

    def epoch(self, row: dict[str, float]) -> None:
        """One epoch is done, with these metrics."""
        figures = "  ".join(f"{label} {row[name]:.2f}" for name, label in _SHOWN.items() if name in row)
        text = f"epoch {int(row['epoch'])}/{self._epochs}  {figures}"
        self._bar.update(self._task, description=text)
        if self._lines and (row["epoch"] % max(1, self._epochs // 10) == 0 or row["epoch"] == self._epochs):
            self._console.print(text, highlight=False)
