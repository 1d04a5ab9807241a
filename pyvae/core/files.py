"""Files that are whole at any moment."""

import os
from contextlib import suppress
from pathlib import Path

from pyvae.errors import ArgumentError, CheckpointError

__all__ = ["as_path", "write_atomically"]


def as_path(path: str | Path, name: str = "path") -> Path:
    """``path`` as a Path.

    Raises:
        ArgumentError: if it is none.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"{name} is {path!r}; expected a str or a Path")
    return Path(path)


def write_atomically(path: Path, content: bytes) -> None:
    """Write aside, flush to the disk, then rename: at any moment ``path`` is whole, old or new.

    Raises:
        CheckpointError: if the content cannot be written; what was at ``path`` stands.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        stands = "; the previous file stands" if path.exists() else ""
        missing = "" if path.parent.is_dir() else f" (there is no directory {path.parent})"
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}{missing}{stands}") from error
