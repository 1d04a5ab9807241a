"""Data that stay on disk."""

import mmap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pyvae.datasets.data import unit_interval
from pyvae.errors import DataError

__all__ = ["MemoryMapped", "memory_mapped"]

_KEPT = 2**27  # bytes that are mapped before the system may have their memory back
_AROUND = 2**16  # bytes that Linux maps where one is read


class MemoryMapped(Dataset):
    """Arrays in .npy files, read row by row as they are needed: memory does not grow with their size.

    Indexed with many rows at once. Each process, and each worker of a ``DataLoader``, opens the files for itself.

    Attributes:
        paths: of the files: x, and possibly labels y.
        transform: of the rows of x that are read.
    """

    takes_rows = True

    def __init__(self, *paths: str | Path, transform: Callable[[Tensor], Tensor]) -> None:
        self.paths = tuple(Path(path).absolute() for path in paths)  # workers may live in another directory
        self.transform = transform
        self._open()

    def _open(self) -> None:
        self._arrays = [_opened(path) for path in self.paths]
        self._mapped = 0
        sizes = [len(a) for a in self._arrays]
        if len(set(sizes)) > 1:
            raise DataError(f"{', '.join(map(str, self.paths))} have {sizes} rows; expected equally many")
        self._advise("MADV_RANDOM")

    def __len__(self) -> int:
        return len(self._arrays[0])

    def __getitem__(self, index: Tensor | int | slice) -> tuple[Tensor, ...]:
        rows = index.cpu().numpy() if isinstance(index, Tensor) else index
        x, *labels = (torch.from_numpy(np.array(a[rows], dtype=a.dtype.newbyteorder("="))) for a in self._arrays)
        self._mapped += x.nbytes + _AROUND * np.size(rows)
        if self._mapped > _KEPT:
            self._mapped = 0
            self._advise("MADV_DONTNEED")
        return (self.transform(x.float() if x.is_floating_point() else x), *labels)

    def __getitems__(self, index: list[int]) -> list[tuple[Tensor, ...]]:
        """Rows that a ``DataLoader`` or a ``Subset`` wants, read at once."""
        return list(zip(*self[torch.tensor(index)], strict=True))

    def _advise(self, advice: str) -> None:
        """Advise the system, where possible, how to treat the files' memory; their content stays as it is."""
        if hasattr(mmap, advice):
            for array in self._arrays:
                array.base.madvise(getattr(mmap, advice))

    def __getstate__(self) -> dict[str, object]:
        return {"paths": self.paths, "transform": self.transform}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._open()

    def __repr__(self) -> str:
        shapes = ", ".join(str(a.shape[1:]) for a in self._arrays)
        return f"{type(self).__name__}({len(self)} rows of shapes {shapes})"


def _known(dtype: np.dtype) -> bool:
    """Whether torch has numbers of this type."""
    try:
        torch.from_numpy(np.zeros(0, dtype.newbyteorder("=")))
    except TypeError:
        return False
    return dtype.kind in "fiub"


def _opened(path: str | Path) -> np.memmap:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a .npy array: {error}") from error
    if not isinstance(array, np.memmap) or array.ndim == 0 or not len(array) or not _known(array.dtype):
        raise DataError(f"{path} holds no array of numbers with one row per datapoint")
    return array


def memory_mapped(
    path: str | Path, *labels: str | Path, transform: Callable[[Tensor], Tensor] = unit_interval
) -> MemoryMapped:
    """The rows of a .npy file, and of others of the same length, without loading them.

    Accepted wherever data are: :func:`pyvae.fit`, :func:`pyvae.elbo`, … What only a look at all data could find (NaN,
    values outside of the support) is found when it is met.

    Args:
        path: x, one row per datapoint; floats become float32, and bytes numbers in [0, 1].
        labels: files of further arguments of model and guide, such as y.
        transform: of the rows of x that are read, such as a binarization.

    Raises:
        DataError: if a file cannot be read, holds no numbers, or has another number of rows.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "x.npy"
        >>> np.save(path, np.zeros((100, 5), np.float32))
        >>> memory_mapped(path)
        MemoryMapped(100 rows of shapes (5,))
    """
    return MemoryMapped(path, *labels, transform=transform)
