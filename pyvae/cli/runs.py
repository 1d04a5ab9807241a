"""Run directories: the record of a run and its results."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pyvae.checkpoint import restore
from pyvae.cli.data import load_data
from pyvae.core.files import write_atomically
from pyvae.datasets import DataSplits
from pyvae.datasets import preprocessing as preprocessings
from pyvae.errors import DataError, RunError
from pyvae.recipes.loading import build
from pyvae.training.state import CHECKPOINT

__all__ = ["RECORD", "Run", "free_path", "open_run", "versions"]

RECORD = "run.json"


@dataclass(frozen=True)
class Run:
    """A run directory and its record.

    Attributes:
        directory: where everything is.
        recipe: the name of the recipe.
        arguments: the recipe's arguments, shapes and classes of the data among them.
        data: the arguments of :func:`load_data`.
        training: the arguments of :func:`pyvae.fit` and of the split, as the command line took them.
        preprocessing: what was done to the data, with its numbers.
        versions: of Python and the libraries.
        code: hashes of the sources of modules that are not ours, by the names of the modules.
        changes: what resumptions have changed: by epoch, the options with what they were and are.
    """

    directory: Path
    recipe: str
    arguments: dict[str, Any]
    data: dict[str, Any]
    training: dict[str, Any]
    preprocessing: list[dict[str, Any]]
    versions: dict[str, str]
    code: dict[str, str] = field(default_factory=dict)
    changes: list[dict[str, Any]] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """The record as JSON."""
        return {k: v for k, v in asdict(self).items() if k != "directory"}

    @property
    def conditional(self) -> bool:
        """Whether the pair takes labels."""
        return bool(self.arguments.get("num_classes"))

    def original_units(self, x: Tensor) -> Tensor:
        """The data in the units that they had before a standardization."""
        return preprocessings.original_units(x, self.preprocessing)

    def load_data(self) -> DataSplits:
        """The data of the run, as its pair takes them.

        Raises:
            DataError: if they are not there any more.
            RunError: if the record does not say which they are.
        """
        try:
            loaded = load_data(**self.data)
        except TypeError as error:
            raise RunError(f"{self.directory / RECORD} is damaged: its data are {self.data}: {error}") from error
        return loaded if self.conditional else loaded.without_labels()

    def load_pair(self) -> nn.Module:
        """The pair with its best weights so far.

        Raises:
            RunError: if the run has no checkpoint yet.
            CheckpointError: if the checkpoint is unreadable.
        """
        if not (self.directory / CHECKPOINT).exists():
            raise RunError(
                f"{self.directory} has no checkpoint yet: go on with it by pyvae fit --resume {self.directory}"
            )
        pair = build(self.recipe, self.arguments, self.code)
        restore(self.directory / CHECKPOINT, pair)
        return pair

    def classes(self, wanted: Sequence[int] | str) -> list[int]:
        """The numbers of classes that are named by number or, with commas between them, by name.

        Raises:
            DataError: if there are none, or some are no classes of the run.
        """
        last = self.arguments["num_classes"] - 1
        if not isinstance(wanted, str):
            if not wanted or not all(0 <= label <= last for label in wanted):
                raise DataError(f"the labels are {list(wanted)}; expected some of 0 to {last}")
            return list(wanted)
        names, words = self.load_data().class_names, [word.strip() for word in wanted.split(",")]
        if not set(words) <= set(names):
            known = f", or of the names {', '.join(names)}" if names else "; the data have no names of classes"
            raise DataError(f"the labels are {wanted}; expected some of 0 to {last}{known}")
        return [names.index(word) for word in words]

    def write_record(self) -> None:
        """Write the record, or replace it."""
        self.write(RECORD, self.record())

    def write(self, name: str, content: dict[str, Any]) -> Path:
        """Write JSON into the directory."""
        path = self.directory / name
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
        return path


def versions() -> dict[str, str]:
    """The versions that a run depends on."""
    packages = ("pyro-vae", "pyro-ppl", "torch", "numpy", "arviz")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


def open_run(directory: str | Path) -> Run:
    """The run of a directory.

    Raises:
        RunError: if it is no run directory, or its record is damaged.
    """
    path = Path(directory) / RECORD
    try:
        record = json.loads(path.read_text())
        if not isinstance(record, dict):
            raise RunError(f"{path} is damaged: it holds {type(record).__name__}; expected the record of a run")
        run = Run(directory=Path(directory), **record)
    except OSError as error:
        raise RunError(f"{directory} is no run directory: it has no readable {RECORD} ({error.strerror})") from error
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    kinds = {"recipe": str, "arguments": dict, "data": dict, "training": dict, "preprocessing": list, "versions": dict}
    kinds |= {"changes": list, "code": dict}
    for name, kind in kinds.items():
        if not isinstance(getattr(run, name), kind):
            raise RunError(f"{path} is damaged: {name} is {getattr(run, name)!r}; expected a {kind.__name__}")
    return run


def free_path(directory: Path, stem: str, suffix: str) -> Path:
    """The first of stem-1, stem-2, … in a directory that does not exist."""
    return next(p for n in count(1) if not (p := directory / f"{stem}-{n}{suffix}").exists())
