"""Run directories: what was run, on what, and what came of it."""

import json
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from pyvae import datasets
from pyvae.checkpoint import read_tensors, restore, write_atomically
from pyvae.datasets import LabelledData
from pyvae.errors import CheckpointError, DataError, RunError
from pyvae.recipes import build
from pyvae.training_state import CHECKPOINT, Row

__all__ = ["Run", "discard_run", "free_path", "load_data", "open_run", "start_run", "versions"]

RECORD = "run.json"

Preprocessing = Literal[
    "no_preprocessing", "dynamic_binarization", "static_binarization", "dequantization", "standardization"
]


def load_data(
    data: str = "digits",
    data_root: str = "data",
    download: bool = False,
    preprocessing: Preprocessing = "dynamic_binarization",
    image_size: int = 32,
) -> LabelledData:
    """Data by name or by path, preprocessed.

    Args:
        data: digits, mnist, fashion_mnist, kmnist, cifar10; a .npy or .npz file; or a folder of images with one
            subfolder per class.
        data_root: where torchvision's datasets are.
        download: fetch torchvision's datasets if they are not there.
        preprocessing: what is done to the data before the VAE sees them.
        image_size: height and width of the images of a folder.

    Raises:
        DataError: if the data are not there, or not as expected.
    """
    if data in ("digits", "mnist", "fashion_mnist", "kmnist", "cifar10"):
        loaded = getattr(datasets, data)(data_root, download)
    elif data.endswith((".npy", ".npz")):
        loaded = datasets.arrays(data)
    elif Path(data).is_dir():
        loaded = datasets.image_folder(data, image_size)
    else:
        raise DataError(
            f"there are no data {data!r}; expected digits, mnist, fashion_mnist, kmnist, cifar10, a .npy or .npz file, "
            "or a folder of images"
        )
    return getattr(datasets, preprocessing)(loaded)


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
    """

    directory: Path
    recipe: str
    arguments: dict[str, Any]
    data: dict[str, Any]
    training: dict[str, Any]
    preprocessing: list[dict[str, Any]]
    versions: dict[str, str]

    def record(self) -> dict[str, Any]:
        """The record as JSON."""
        return {k: v for k, v in asdict(self).items() if k != "directory"}

    @property
    def conditional(self) -> bool:
        """Whether the pair takes labels."""
        return "num_classes" in self.arguments

    def load_data(self) -> LabelledData:
        """The data of the run, as its pair takes them."""
        loaded = load_data(**self.data)
        return loaded if self.conditional else loaded.without_labels()

    def load_labels(self, count: int) -> Tensor | None:
        """The labels of the first test data, if there are any; also for a pair that does not take them."""
        labels = load_data(**self.data).test.tensors[1:]
        return labels[0][:count] if labels else None

    def load_pair(self) -> nn.Module:
        """The pair with its best weights so far.

        Raises:
            RunError: if the run has no checkpoint yet.
            CheckpointError: if the checkpoint is unreadable.
        """
        if not (self.directory / CHECKPOINT).exists():
            raise RunError(f"{self.directory} has no checkpoint yet: go on with it by pyvae fit … --resume")
        pair = build(self.recipe, self.arguments)
        restore(self.directory / CHECKPOINT, pair)
        return pair

    def history(self) -> list[Row]:
        """The metrics of the finished epochs."""
        return read_tensors(self.directory / CHECKPOINT)[1]["history"]

    def write(self, name: str, content: dict[str, Any]) -> Path:
        """Write JSON into the directory."""
        path = self.directory / name
        write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())
        return path


def versions() -> dict[str, str]:
    """The versions that a run depends on."""
    packages = ("pyro-vae", "pyro-ppl", "torch", "numpy", "arviz")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}


def start_run(run: Run, resume: bool) -> None:
    """Make the directory of a new run and write its record; or check that of a run that is resumed.

    Raises:
        RunError: if the directory holds something else already, cannot be written, or is of another run.
    """
    record = run.directory / RECORD
    if record.exists() and resume:
        written = open_run(run.directory).record()
        mine = json.loads(json.dumps(run.record()))
        changed = [k for k in ("recipe", "arguments", "data", "preprocessing") if written[k] != mine[k]]
        if changed:
            details = "; ".join(f"{k} is {mine[k]} now and was {written[k]}" for k in changed)
            raise RunError(f"cannot resume {run.directory}: {details}. Repeat the command of the run, with --resume")
        run.write(RECORD, run.record())  # the number of epochs may have grown
        return
    if run.directory.exists() and (not run.directory.is_dir() or any(run.directory.iterdir())):
        raise RunError(
            f"{run.directory} exists already and is not overwritten: give another --run-dir, or --resume if it is a run"
        )
    try:
        run.directory.mkdir(parents=True, exist_ok=True)
        run.write(RECORD, run.record())
    except (OSError, CheckpointError) as error:
        raise RunError(f"cannot write to {run.directory}: {error}") from error


def discard_run(run: Run) -> None:
    """Remove the record of a run that never began, and its directory if that leaves it empty."""
    (run.directory / RECORD).unlink(missing_ok=True)
    with suppress(OSError):
        run.directory.rmdir()


def open_run(directory: str | Path) -> Run:
    """The run of a directory.

    Raises:
        RunError: if it is no run directory, or its record is damaged.
    """
    path = Path(directory) / RECORD
    try:
        return Run(directory=Path(directory), **json.loads(path.read_text()))
    except OSError as error:
        raise RunError(f"{directory} is no run directory: it has no readable {RECORD} ({error.strerror})") from error
    except (ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged: {error}") from error


def free_path(directory: Path, stem: str, suffix: str) -> Path:
    """The first of stem-1, stem-2, … in a directory that does not exist."""
    return next(p for n in count(1) if not (p := directory / f"{stem}-{n}{suffix}").exists())
