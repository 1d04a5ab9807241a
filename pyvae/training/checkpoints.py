"""What a training run keeps on disk, from its start on."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pyvae.core.random_streams import draw_seed
from pyvae.errors import CheckpointError
from pyvae.training.logs import write_csv
from pyvae.training.processes import Processes
from pyvae.training.state import CHECKPOINT, Row, TrainingState

__all__ = ["save_epoch", "start_or_resume"]

METRICS = "metrics.csv"


def start_or_resume(
    state: TrainingState, directory: Path | None, resume: bool | Literal["changed"], processes: Processes
) -> None:
    """Take on the checkpoint of a run that is resumed, or write the first one of a new run.

    The first checkpoint shows at once whether the directory can be written. All processes start from the weights of
    the first.

    Raises:
        CheckpointError: if there is a run already and ``resume`` is not given, the directory cannot be written, or,
            before anything is, the optimizer has settings that cannot be saved.
    """
    if directory is not None:
        state.check()
    exists = processes.by_first(lambda: directory is not None and (directory / CHECKPOINT).exists())
    if exists and not resume:
        raise CheckpointError(
            f"{directory} already holds a run; pass resume=True to go on with it, or another checkpoint_dir"
        )
    if exists:
        processes.by_first(lambda: _discard_leftovers(directory))
        state.read(directory, resume == "changed")
        processes.by_first(lambda: write_csv(directory / METRICS, state.history))  # it may be one epoch behind
        return
    seed = state.settings["seed"]
    state.settings["seed"] = processes.by_first(lambda: draw_seed() if seed is None else seed)
    tensors = list(state.pair.state_dict().values())
    if processes.rank:
        for tensor in tensors:
            tensor.zero_()
    processes.add(tensors)
    processes.by_first(lambda: _make(directory, state))


def _discard_leftovers(directory: Path) -> None:
    """Remove what a run that was killed while it wrote has left."""
    for leftover in directory.glob(f".{CHECKPOINT}.*"):
        leftover.unlink()


def _make(directory: Path | None, state: TrainingState) -> None:
    """Make the directory of a new run."""
    if directory is None:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot make the directory {directory}: {error.strerror}") from error
    state.write(directory)


def save_epoch(state: TrainingState, directory: Path | None, log: Callable[[Row], None] | None) -> None:
    """Write what is known after an epoch."""
    if directory is not None:
        state.write(directory)
        write_csv(directory / METRICS, state.history)
    if log is not None:
        log(state.history[-1])
