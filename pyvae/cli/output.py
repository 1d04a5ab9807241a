"""The files that commands write."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from pyvae.cli.runs import Run, free_path
from pyvae.core.files import write_atomically
from pyvae.errors import ArgumentError
from pyvae.pages.plots import save_picture

__all__ = ["DRAWN", "free_output", "write_data"]

DRAWN = (".png", ".npy")  # what data are written as


def free_output(run: Run, stem: str, suffix: str, output: str | None, suffixes: tuple[str, ...]) -> Path:
    """Where to write: a file that does not exist, of a kind that can be written.

    Raises:
        ArgumentError: if ``output`` exists already, is of another kind, or its folder does not exist.
    """
    path = free_path(run.directory, stem, suffix) if output is None else Path(output)
    if path.exists():
        raise ArgumentError(f"{path} exists already and is not overwritten: give another --output")
    if path.suffix not in suffixes or not path.parent.is_dir():
        raise ArgumentError(f"cannot write {path}: expected a {' or '.join(suffixes)} file in a folder that exists")
    return path


def write_data(path: Path, x: Tensor, draw: Callable[[], Figure]) -> None:
    """Write data as numbers or as a picture, and say where."""
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, x.cpu().numpy())
        write_atomically(path, buffer.getvalue())
    else:
        save_picture(path, draw())
    print(path)
