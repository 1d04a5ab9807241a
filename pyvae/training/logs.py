"""The metrics of a run on disk: as CSV and for TensorBoard."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from pyvae.core.files import write_atomically
from pyvae.errors import ArgumentError

__all__ = ["Row", "tensorboard_class", "tensorboard_writer", "write_csv"]

Row = dict[str, float]


def write_csv(path: Path, history: Sequence[Row]) -> None:
    """Write one row per epoch; what was written before is replaced in one step."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]) if history else ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(path, text.getvalue().encode())


def tensorboard_class() -> type:
    """TensorBoard's writer.

    Raises:
        ArgumentError: if tensorboard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ArgumentError("tensorboard is not installed; pip install 'pyro-vae[tensorboard]'") from error
    return SummaryWriter


def tensorboard_writer(directory: Path, epoch: int) -> Callable[[Row], None]:
    """A function that logs one row to TensorBoard; steps after ``epoch`` that were logged before are discarded."""
    writer = tensorboard_class()(str(directory / "tensorboard"), purge_step=epoch + 1)

    def log(row: Row) -> None:
        for name, value in row.items():
            if name != "epoch":
                path = name.replace("train_", "train/").replace("validation_", "validation/")
                writer.add_scalar(path, value, int(row["epoch"]))
        writer.flush()

    return log
