"""How a run begins, or goes on: its directory, its record, and what a resumption may change."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyvae.checkpoint import read_tensors
from pyvae.cli.runs import RECORD, Run, open_run
from pyvae.core.differences import differences, told_differences
from pyvae.core.files import write_atomically
from pyvae.errors import CheckpointError, RunError
from pyvae.recipes.loading import with_paths_of_today
from pyvae.recipes.own_code import warn_of_other_code
from pyvae.training.state import CHECKPOINT

__all__ = ["Start", "discard_start", "start_run"]

_FOR_GOOD = ("seed", "validation")  # of the options of training
_OF_DATA = {"shape": "the shape of the data", "num_classes": "the number of classes"}
_WITHOUT_A_WORD = {"epochs", "patience", "device", "compile", "progress", "tensorboard", "evaluation_particles"}


@dataclass(frozen=True)
class Start:
    """What the beginning of a run, or its resumption, has changed on disk.

    Attributes:
        run: the run, with its history of changes.
        epoch: how many epochs it has behind it.
        made: files and folders that were not there.
        record: the record that was replaced.
    """

    run: Run
    epoch: int = 0
    made: Sequence[Path] = ()
    record: bytes | None = None

    def told(self) -> str:
        """A line on a resumption: where it goes on, and with what changes."""
        epochs = self.run.training["epochs"]
        last = self.run.changes[-1:]
        changes = [
            f"{_spelled(name)} {values['now']} (was {values['was']})"
            for change in last
            if change["epoch"] == self.epoch
            for name, values in change["options"].items()
        ]
        hint = "; nothing is left to train: give more --epochs" if self.epoch >= epochs else ""
        return f"goes on after epoch {self.epoch} of {epochs}{hint}" + "".join(f"; {change}" for change in changes)


def start_run(run: Run, resume: bool, changed: bool) -> Start:
    """Make the directory of a new run and write its record; or check and renew that of a run that is resumed.

    Args:
        run: the run.
        resume: whether to go on with the run of this directory, if there is one.
        changed: whether what was given are changes to the run; else it is the whole command of the run once more.

    Raises:
        RunError: if the directory holds something else already, cannot be written, or is of another run.
    """
    path = run.directory / RECORD
    if resume and path.exists():
        written, epoch = open_run(run.directory), _finished_epochs(run.directory)
        warn_of_other_code(written.code)
        run = _resumed(run, written, epoch, changed)
        start = Start(run, epoch, record=path.read_bytes())
        run.write_record()
        return start
    if run.directory.exists() and (not run.directory.is_dir() or any(run.directory.iterdir())):
        raise RunError(
            f"{run.directory} exists already and is not overwritten: give another --run-dir, or if it is a run, "
            f"go on with it by pyvae fit --resume {run.directory}"
        )
    start = Start(run, made=[path, *(d for d in (run.directory, *run.directory.parents) if not d.exists())])
    try:
        run.directory.mkdir(parents=True, exist_ok=True)
        run.write_record()
    except (OSError, CheckpointError) as error:
        discard_start(start)
        raise RunError(f"cannot write to {run.directory}: {error}") from error
    return start


def discard_start(start: Start) -> None:
    """Leave the directory as it was before :func:`start_run`, if no epoch has ended since."""
    directory = start.run.directory
    if _finished_epochs(directory) > start.epoch:
        return
    if start.record is not None:
        write_atomically(directory / RECORD, start.record)
        return
    for path in (directory / CHECKPOINT, *start.made):
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


def _finished_epochs(directory: Path) -> int:
    """How many epochs the checkpoint of a run has behind it; 0 if there is none yet."""
    path = directory / CHECKPOINT
    return len(read_tensors(path)[1].get("history", ())) if path.exists() else 0


def _resumed(run: Run, written: Run, epoch: int, changed: bool) -> Run:
    """The run as it goes on, with what is changed added to its history.

    Raises:
        RunError: if something is changed that cannot be, option by option.
    """
    known = {n: v for n, v in written.training.items() if n in run.training}  # older runs may have had other options
    written = replace(written, training=known)
    was, now = (with_paths_of_today(json.loads(json.dumps(_options(r)))) for r in (written, run))
    found = differences(now, _completed(was, now))
    free = run.training.keys() - set(_FOR_GOOD) if changed else _WITHOUT_A_WORD
    allowed = {n: v for n, v in found.items() if n.split(".")[0] in free and n != "optimizer"}
    of_pair = {n: v for n, v in found.items() if n not in allowed and (changed or n.split(".")[0] not in run.training)}
    if of_pair:
        advice = (
            "They hold for the whole run: start another one to change them"
            if changed
            else f"pyvae fit --resume {run.directory} takes everything from the run"
        )
        told = told_differences({_spelled(n): v for n, v in of_pair.items()})
        raise RunError(f"cannot resume {run.directory}: {told}. {advice}")
    if "epochs" in allowed and run.training["epochs"] < epoch:
        raise RunError(
            f"cannot resume {run.directory}: --epochs is {run.training['epochs']} and the run has had {epoch}; "
            "epochs count from the beginning of the run"
        )
    news = {name: {"was": before, "now": after} for name, (after, before) in allowed.items()}
    return replace(run, changes=[*written.changes, *([{"epoch": epoch, "options": news}] if news else [])])


def _spelled(name: str) -> str:
    """The name of a setting as that of an option, if it is one."""
    return name if " " in name else f"--{name.replace('_', '-')}"


def _options(run: Run) -> dict[str, Any]:
    """What a run was told and found, by the names of the options."""
    found = {"the recipe": run.recipe, "the preprocessing of the data": run.preprocessing}
    arguments = {_OF_DATA.get(name, name): value for name, value in run.arguments.items()}
    return {**found, **arguments, **run.data, **run.training}


def _completed(was: Any, now: Any) -> Any:
    """A record with what it lacks, as one of an older version does, from another."""
    if not (isinstance(was, Mapping) and isinstance(now, Mapping)):
        return was
    return {**now, **{name: _completed(value, now.get(name)) for name, value in was.items()}}
