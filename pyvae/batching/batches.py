"""The forms in which data come, and the batches that a training loop takes from them."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

from pyvae.batching.sharding import Shard, ShardedSampler
from pyvae.core.arguments import check_int
from pyvae.core.modules import as_before_on_error
from pyvae.core.random_streams import isolated_rng
from pyvae.core.rows import PROBE_ROWS, example_of, example_rows
from pyvae.core.tensors import check_tensors
from pyvae.errors import DataError, errors_as
from pyvae.inspection.checks import check_data, check_measures, check_shapes
from pyvae.inspection.inspection import Inspection, device_of, inspect_pair, takes_missing
from pyvae.inspection.own_rows import rows_explained
from pyvae.inspection.rows import check_rows

__all__ = ["Batches", "Data", "as_batches", "batches_for", "inspect_data"]

Data = Tensor | Sequence[Tensor] | Dataset | DataLoader
Batch = tuple[Tensor, ...]
_MEASURED_ROWS = 4096  # of a batch that is evaluated
_TOLD = 4  # of many things in an error
_FORMS = "; expected tensors of equal shapes, or tuples of them"


@dataclass(frozen=True)
class Batches:
    """A data set, cut into batches: tuples of tensors on one device, the arguments of a pair's programs.

    Attributes:
        source: a ``TensorDataset``, which is indexed with whole batches, another ``Dataset``, or a ``DataLoader``.
        batch_size: rows per batch; a ``DataLoader`` has its own.
        device: where the batches go.
        shard: the part of the data that this process trains on.
    """

    source: Dataset | DataLoader
    batch_size: int
    device: torch.device
    shard: Shard = field(default_factory=Shard)

    def divided(self, rank: int, count: int) -> "Batches":
        """The part that process ``rank`` of ``count`` trains on."""
        return replace(self, shard=Shard(rank, count))

    @property
    def in_memory(self) -> bool:
        """Whether the rows are tensors that can be looked at as a whole."""
        return isinstance(self.source, TensorDataset)

    @property
    def takes_rows(self) -> bool:
        """Whether the source is indexed with many rows at once."""
        return self.in_memory or getattr(self.source, "takes_rows", False)

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
        if isinstance(self.source, DataLoader):
            return size // self.shard.count
        return len(self.shard.sizes(size, self.batch_size))

    def size(self) -> int | None:
        """The number of rows, if it is known; of a ``DataLoader``, that of its data, unless they are whole batches."""
        if isinstance(self.source, DataLoader) and self.source.batch_sampler is None:
            return None
        source = self.source.dataset if isinstance(self.source, DataLoader) else self.source
        try:
            return len(source)
        except TypeError:
            return None

    def last_size(self) -> int | None:
        """The number of rows of the last batch of a pass, if it is known."""
        rows, source = self.size(), self.source
        if not isinstance(source, DataLoader):
            return self.shard.sizes(rows, self.batch_size)[-1] // self.shard.count
        if rows is None or source.batch_size is None:
            return None
        return source.batch_size if source.drop_last else rows % source.batch_size or source.batch_size

    def shuffled(self, seed: int) -> Iterator[Batch]:
        """This process's part of one pass in the random order of ``seed``; one batch of all rows is in their own order.

        A ``DataLoader`` keeps its own sampler, reseeded.

        Raises:
            DataError: if the data cannot be divided among the processes.
        """
        if isinstance(self.source, DataLoader):
            return self._load(self._reseeded(self.source, seed))
        size = len(self.source)
        if size <= self.batch_size and self.shard.count == 1:  # as a program over all rows may know them by their place
            return self.in_order()
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
        rows = self.shard.rows(order, self.batch_size)
        return map(self._take, rows) if self.takes_rows else self._fetch(rows)

    def _reseeded(self, loader: DataLoader, seed: int) -> DataLoader:
        sampler = loader.batch_sampler
        for owner in (loader, loader.sampler, sampler, getattr(sampler, "sampler", None)):
            if isinstance(getattr(owner, "generator", None), torch.Generator):
                owner.generator.manual_seed(seed)
        if self.shard.count == 1:
            return loader
        if sampler is None or isinstance(loader.dataset, IterableDataset):
            raise DataError(
                "a DataLoader without batches of its own, or over a stream, cannot be divided among processes; pass a "
                "map-style Dataset, or a DataLoader with a batch size over one"
            )
        return DataLoader(
            loader.dataset,
            batch_sampler=ShardedSampler(sampler, self.shard, seed),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
        )

    def in_order(self) -> Iterator[Batch]:
        """One pass over all data in their order, or in that of the ``DataLoader``."""
        if isinstance(self.source, DataLoader):
            return self._load(self.source)
        rows = torch.arange(len(self.source)).split(self.batch_size)
        return map(self._take, rows) if self.takes_rows else self._fetch(rows)

    def part(self, rank: int, count: int) -> "Batches":
        """The data that process ``rank`` of ``count`` measures: all, where they cannot be divided."""
        size = self.size()
        whole = replace(self, batch_size=_MEASURED_ROWS, shard=Shard())
        if count == 1 or isinstance(self.source, DataLoader) or size < count:
            return whole
        return replace(whole, source=Subset(self.source, range(rank, size, count)))

    def first(self) -> Batch:
        """The first batch.

        Raises:
            DataError: if there is none, or it cannot be loaded.
        """
        return self._loaded(self.in_order())

    def example(self, count: int | None = PROBE_ROWS) -> tuple[Batch, tuple[int, ...]]:
        """About so many rows to try a pair on (None: as many as a batch has), and which of the arguments have rows.

        The rows with the smallest and the largest number of each tensor are among them: of all data, if these are in
        memory, else of the first batch.

        Raises:
            DataError: if there is none, or it cannot be loaded.
        """
        if self.in_memory:
            rows = example_rows(self.source.tensors, self.batch_size if count is None else count)
            return self._loaded(map(self._take, [rows])), tuple(range(len(self.source.tensors)))
        first = self.first()
        args, columns = example_of(first, len(first[0]) if count is None else count)
        return tuple(args), columns

    def _loaded(self, batches: Iterator[Batch]) -> Batch:
        with errors_as(DataError, "a batch of the data cannot be loaded", _FORMS):
            for batch in batches:
                return batch
        raise DataError("the data are empty; expected at least one datapoint")

    def _take(self, rows: Tensor) -> Batch:
        return tuple(t.to(self.device, non_blocking=True) for t in self.source[rows])

    def _fetch(self, rows: Sequence[Tensor]) -> Iterator[Batch]:
        """Batches of a Dataset that gives one row at a time."""
        return self._load(DataLoader(self.source, batch_sampler=[r.tolist() for r in rows]))

    def _load(self, loader: DataLoader) -> Iterator[Batch]:
        for batch in loader:
            yield tuple(t.to(self.device, non_blocking=True) for t in _as_tuple(batch))


def _as_tuple(batch: object) -> Batch:
    """A batch of a DataLoader as a tuple of tensors."""
    parts = (batch,) if isinstance(batch, Tensor) else batch
    if not isinstance(parts, tuple | list) or not parts or not all(isinstance(p, Tensor) for p in parts):
        kinds = ", ".join(type(p).__name__ for p in parts) if isinstance(parts, tuple | list) else type(batch).__name__
        hint = "; let the Dataset, or the loader's collate_fn, give one: (d['a'], d['b'])" if "dict" in kinds else ""
        raise DataError(f"a batch consists of {kinds}; expected a tensor or a tuple of tensors{hint}")
    return tuple(parts)


def as_batches(data: Data, batch_size: int, device: torch.device, name: str = "data", missing: bool = False) -> Batches:
    """Data of any accepted form as batches.

    Args:
        data: a tensor with one row per datapoint; a tuple of such; a ``TensorDataset`` or one of its kind (indexed
            with many rows at once); any map-style ``Dataset``; or a ``DataLoader``, which brings its own batch size.
        batch_size: rows per batch.
        device: where batches go.
        name: what to call the data in errors.
        missing: whether NaN stands for a value that is missing, and is welcome.

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
        return Batches(_tensor_dataset(data, name, missing), batch_size, device)
    if isinstance(data, TensorDataset):
        check_tensors(data.tensors, name, missing)
        return Batches(data, batch_size, device)
    if isinstance(data, Dataset) and hasattr(data, "__len__"):
        if not data:
            raise DataError(f"{name}: the Dataset is empty; expected at least one datapoint")
        return Batches(data, batch_size, device)
    hint = _conversion(data)
    kind = type(data).__name__ if not inspect.isclass(data) else f"the class {data.__name__}"
    raise DataError(
        f"{name} is {kind}; expected a tensor, a tuple of tensors, a map-style torch Dataset or a DataLoader{hint}"
    )


def batches_for(pair: nn.Module, data: Data, batch_size: int, name: str = "data") -> Batches:
    """Data as batches on the device of the pair's parameters; NaN is allowed if a component handles missing values.

    Raises:
        PairError: if ``pair`` is no model/guide pair.
        DataError: as :func:`as_batches`.
    """
    return as_batches(data, batch_size, device_of(pair), name, takes_missing(pair))


def inspect_data(pair: nn.Module, batches: Batches, count: int = PROBE_ROWS) -> Inspection:
    """The inspection of a pair on about so many of the data, whose smallest and largest numbers are among them.

    Raises:
        PairError: as :func:`pyvae.inspection.inspect_pair`; and if what it says of a row depends on other rows.
        DataError: if there are no data, or they do not fit what observes them.
    """
    with isolated_rng():
        example, columns = batches.example(count)
    with as_before_on_error(pair), rows_explained(pair, batches.size()):
        inspection = inspect_pair(pair, example, columns)
        check_data(inspection)
        check_measures(inspection)
        check_shapes(inspection)
        check_rows(inspection)
    return inspection


def _conversion(data: object) -> str:
    """The line that makes tensors of other forms of data, as the end of an error."""
    if type(data).__module__.split(".")[0] == "numpy":
        return "; convert an array with torch.from_numpy(x).float()"
    if hasattr(data, "toarray"):
        return "; of a sparse matrix, pass torch.from_numpy(x.toarray()).float()"
    if hasattr(data, "to_numpy"):
        return "; of a table, pass torch.from_numpy(x.to_numpy()).float()"
    if hasattr(data, "train") and hasattr(data, "test"):
        return "; pass one of its splits, .train or .test"
    if isinstance(data, Mapping):
        return "; pass a tuple of its tensors, in the order of the programs' arguments: (d['a'], d['b'])"
    if isinstance(data, Iterator):
        return "; of an iterator over batches, pass torch.cat(list(batches))"
    return ""


def _tensor_dataset(tensors: Sequence[Tensor], name: str, missing: bool) -> TensorDataset:
    if not tensors or not all(isinstance(t, Tensor) for t in tensors):
        kinds = ", ".join(type(t).__name__ for t in tensors[:_TOLD]) + (", …" if len(tensors) > _TOLD else "")
        kinds = kinds or "nothing"
        hint = _conversion(tensors[0]) if tensors else ""
        raise DataError(f"{name} is a {type(tensors).__name__} of {kinds}; expected tensors{hint}")
    check_tensors(tensors, name, missing)
    return TensorDataset(*tensors)
