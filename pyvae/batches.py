"""The forms in which data come, and the batches that a training loop takes from them."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from pyvae.checks import check_int
from pyvae.errors import RUN_ERRORS, DataError, PyvaeError

__all__ = ["Batches", "Data", "as_batches", "check_tensors", "extreme_rows"]

Data = Tensor | Sequence[Tensor] | Dataset | DataLoader
Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class Batches:
    """A data set, cut into batches: tuples of tensors on one device, the arguments of a pair's programs.

    Attributes:
        source: a ``TensorDataset``, which is indexed with whole batches, another ``Dataset``, or a ``DataLoader``.
        batch_size: rows per batch; a ``DataLoader`` has its own.
        device: where the batches go.
    """

    source: Dataset | DataLoader
    batch_size: int
    device: torch.device

    @property
    def in_memory(self) -> bool:
        """Whether the rows are tensors that can be indexed at once."""
        return isinstance(self.source, TensorDataset)

    def describe(self) -> list[list[str | int]] | str:
        """Types and shapes of the tensors, or the kind of the source, as JSON."""
        if self.in_memory:
            return [[str(t.dtype), *t.shape] for t in self.source.tensors]
        try:
            return f"{type(self.source).__name__} of {len(self.source)}"
        except TypeError:
            return type(self.source).__name__

    def count(self) -> int | None:
        """The number of batches of one pass, if it is known."""
        try:
            size = len(self.source)
        except TypeError:  # a DataLoader over a stream
            return None
        return size if isinstance(self.source, DataLoader) else -(-size // self.batch_size)

    def size(self) -> int | None:
        """The number of rows, if it is known; of a ``DataLoader``, that of its data."""
        source = self.source.dataset if isinstance(self.source, DataLoader) else self.source
        try:
            return len(source)
        except TypeError:
            return None

    def shuffled(self, seed: int) -> Iterator[Batch]:
        """One pass in the random order of ``seed``; a ``DataLoader`` keeps its own sampler, reseeded."""
        generator = torch.Generator().manual_seed(seed)
        if self.in_memory:
            return self._rows(torch.randperm(len(self.source), generator=generator))
        if not isinstance(self.source, DataLoader):
            return self._load(DataLoader(self.source, self.batch_size, shuffle=True, generator=generator))
        batch_sampler = self.source.batch_sampler
        for owner in (self.source, self.source.sampler, batch_sampler, getattr(batch_sampler, "sampler", None)):
            if isinstance(getattr(owner, "generator", None), torch.Generator):
                owner.generator.manual_seed(seed)
        return self._load(self.source)

    def in_order(self) -> Iterator[Batch]:
        """One pass in the order of the data, or in that of the ``DataLoader``."""
        if self.in_memory:
            return self._rows(torch.arange(len(self.source)))
        loader = self.source if isinstance(self.source, DataLoader) else DataLoader(self.source, self.batch_size)
        return self._load(loader)

    def first(self) -> Batch:
        """The first batch.

        Raises:
            DataError: if there is none, or it cannot be loaded.
        """
        return self._loaded(self.in_order())

    def extremes(self) -> Batch:
        """A batch with the smallest and the largest numbers of each tensor; the first batch if not in memory.

        A label or an intensity that is out of range anywhere in the data is then out of range here.

        Raises:
            DataError: if there is none, or it cannot be loaded.
        """
        if not self.in_memory:
            return self.first()
        extremes = extreme_rows(self.source.tensors)
        others = torch.arange(min(self.batch_size, len(self.source)))[len(extremes) :]
        return self._loaded(self._take(rows) for rows in (torch.cat([extremes, others]),))

    def _loaded(self, batches: Iterator[Batch]) -> Batch:
        try:
            return next(batches)
        except StopIteration:
            raise DataError("the data are empty; expected at least one datapoint") from None
        except RUN_ERRORS as error:
            if isinstance(error, PyvaeError):
                raise
            raise DataError(
                f"a batch of the data cannot be loaded: {error}; expected tensors of equal shapes, or tuples of them"
            ) from error

    def _rows(self, order: Tensor) -> Iterator[Batch]:
        for rows in order.split(self.batch_size):
            yield self._take(rows)

    def _take(self, rows: Tensor) -> Batch:
        return tuple(t.to(self.device, non_blocking=True) for t in self.source[rows])

    def _load(self, loader: DataLoader) -> Iterator[Batch]:
        for batch in loader:
            yield tuple(t.to(self.device, non_blocking=True) for t in _as_tuple(batch))


def extreme_rows(tensors: Sequence[Tensor]) -> Tensor:
    """The rows that hold the smallest and the largest number of each tensor."""
    rows = [torch.tensor(0)]
    for tensor in tensors:
        if tensor.numel() and not tensor.is_complex() and tensor.dtype != torch.bool:
            matrix = tensor.reshape(len(tensor), -1)
            rows += [matrix.amin(1).argmin().cpu(), matrix.amax(1).argmax().cpu()]
    return torch.stack(rows)


def _as_tuple(batch: object) -> Batch:
    """A batch of a DataLoader as a tuple of tensors."""
    parts = (batch,) if isinstance(batch, Tensor) else batch
    if not isinstance(parts, tuple | list) or not parts or not all(isinstance(p, Tensor) for p in parts):
        kinds = ", ".join(type(p).__name__ for p in parts) if isinstance(parts, tuple | list) else type(batch).__name__
        raise DataError(f"a batch consists of {kinds}; expected a tensor or a tuple of tensors")
    return tuple(parts)


def as_batches(data: Data, batch_size: int, device: torch.device, name: str = "data") -> Batches:
    """Data of any accepted form as batches.

    Args:
        data: a tensor with one row per datapoint; a tuple of such; a ``TensorDataset`` or one of its kind (indexed
            with many rows at once); any map-style ``Dataset``; or a ``DataLoader``, which brings its own batch size.
        batch_size: rows per batch.
        device: where batches go.
        name: what to call the data in errors.

    Raises:
        DataError: if the data are of another form, empty, of unequal lengths, or contain NaN or infinity.
        ArgumentError: if ``batch_size`` is not a positive int.
    """
    check_int("batch_size", batch_size)
    if isinstance(data, DataLoader):
        return Batches(data, data.batch_size or 1, device)
    if isinstance(data, Tensor):
        data = (data,)
    if isinstance(data, tuple | list):
        return Batches(_tensor_dataset(data, name), batch_size, device)
    if isinstance(data, TensorDataset):
        check_tensors(data.tensors, name)
        return Batches(data, batch_size, device)
    if isinstance(data, Dataset) and hasattr(data, "__len__"):
        if not data:
            raise DataError(f"{name}: the Dataset is empty; expected at least one datapoint")
        return Batches(data, batch_size, device)
    hint = "; convert an array with torch.from_numpy" if type(data).__module__ == "numpy" else ""
    if hasattr(data, "train") and hasattr(data, "test"):
        hint = "; pass one of its splits, .train or .test"
    kind = type(data).__name__ if not inspect.isclass(data) else f"the class {data.__name__}"
    raise DataError(
        f"{name} is {kind}; expected a tensor, a tuple of tensors, a map-style torch Dataset or a DataLoader{hint}"
    )


def _tensor_dataset(tensors: Sequence[Tensor], name: str) -> TensorDataset:
    if not tensors or not all(isinstance(t, Tensor) for t in tensors):
        kinds = ", ".join(type(t).__name__ for t in tensors) or "nothing"
        raise DataError(f"{name} is a {type(tensors).__name__} of {kinds}; expected tensors")
    check_tensors(tensors, name)
    return TensorDataset(*tensors)


def check_tensors(tensors: Sequence[Tensor], name: str) -> None:
    """Refuse tensors of unequal lengths, without rows, sparse, or with numbers that are not finite.

    Raises:
        DataError: saying what is wrong, and in which row.
    """
    if any(t.layout != torch.strided for t in tensors):
        raise DataError(f"{name}: sparse tensors cannot be cut into batches; use x.to_dense()")
    if any(t.dim() == 0 for t in tensors) or not len(tensors[0]):
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
        raise DataError(f"{name} has shape {shapes}; expected at least one row per datapoint")
    if len({len(t) for t in tensors}) > 1:
        raise DataError(
            f"{name}: the tensors have {', '.join(str(len(t)) for t in tensors)} rows; expected equally many"
        )
    for index, tensor in enumerate(tensors):
        if tensor.is_floating_point():
            for start, rows in zip(range(0, len(tensor), 4096), tensor.split(4096), strict=False):
                bad = ~rows.isfinite().flatten(1).all(1) if rows.dim() > 1 else ~rows.isfinite()
                if bad.any():
                    row = start + int(bad.nonzero()[0])
                    raise DataError(
                        f"{name}: tensor {index} holds NaN or infinity, first in row {row}; clean the data first"
                    )
