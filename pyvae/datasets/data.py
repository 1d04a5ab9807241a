"""Data in memory, as every dataset function returns them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from pyvae.core.random_streams import isolated_rng
from pyvae.datasets.factors import Factors
from pyvae.datasets.units import Units
from pyvae.errors import ArgumentError, DataError

if TYPE_CHECKING:  # to import them takes as long as torch
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["DataSplits", "InMemory", "unit_interval"]


def unit_interval(x: Tensor) -> Tensor:
    """Images of bytes as floats in [0, 1]; floats as they are."""
    return x.float() / 255 if x.dtype == torch.uint8 else x


class InMemory(TensorDataset):
    """Tensors of equal length, the first of which passes through ``transform`` whenever rows are taken.

    Args:
        tensors: x, and possibly labels y; rows first.
        transform: of the rows of x that are taken, such as a fresh binarization.
        factors: the ground-truth factors of the rows, if known; indexing does not return them.
        units: what a density of the rows that are taken says of x.

    Example:
        >>> len(InMemory(torch.zeros(5, 2))[torch.tensor([0, 3])][0])
        2
    """

    def __init__(
        self,
        *tensors: Tensor,
        transform: Callable[[Tensor], Tensor] = unit_interval,
        factors: Factors | None = None,
        units: Units | None = None,
    ) -> None:
        super().__init__(*tensors)
        self.transform = transform
        self.factors = factors
        self.units = units or Units()

    def __getitem__(self, index: Tensor | int | slice) -> tuple[Tensor, ...]:
        x, *labels = super().__getitem__(index)
        return (self.transform(x), *labels)

    def __getitems__(self, index: list[int]) -> list[tuple[Tensor, ...]]:
        """Rows that a ``DataLoader`` or a ``Subset`` wants, taken at once."""
        return list(zip(*self[torch.tensor(index)], strict=True))

    def rows(self, index: Tensor | slice) -> "InMemory":
        """The given rows, under the same transform."""
        factors = None if self.factors is None else self.factors.rows(index)
        return InMemory(*(t[index] for t in self.tensors), transform=self.transform, factors=factors, units=self.units)

    def fixed(self, seed: int = 0) -> "InMemory":
        """The same rows with one sample of a random transform, so that figures on them can be compared."""
        with isolated_rng(seed):
            tensors = self[torch.arange(len(self))]
        return InMemory(*tensors, transform=lambda x: x, factors=self.factors, units=self.units)

    def __repr__(self) -> str:
        shapes = ", ".join(str(tuple(t.shape[1:])) for t in self.tensors)
        return f"{type(self).__name__}({len(self)} rows of shapes {shapes})"

    def without_labels(self) -> "InMemory":
        """The same data without labels: x alone."""
        return InMemory(self.tensors[0], transform=self.transform, factors=self.factors, units=self.units)


@dataclass(frozen=True)
class DataSplits:
    """Training and test data, with a description of them.

    Attributes:
        name: where the data come from.
        train: training data: x, and y if there are labels.
        test: test data, of the same form.
        num_classes: the number of classes, 0 if there are no labels.
        levels: the number K of values k / (K − 1) that an element of x takes, as rows are when they are taken, such as
            256 grey levels; None for continuous data.
        preprocessing: what was done to x, as JSON.
        class_names: the names of the classes, in their order; empty if they are numbers alone.
    """

    name: str
    train: InMemory
    test: InMemory
    num_classes: int
    levels: int | None
    preprocessing: tuple[dict, ...] = ()
    class_names: tuple[str, ...] = ()

    def to_dataframe(self) -> "pd.DataFrame":
        """The number of datapoints of each split, of each class if there are labels; −1 is a label that is hidden."""
        import pandas as pd

        splits = {"train": self.train, "test": self.test}
        if not self.num_classes:
            return pd.DataFrame({name: [len(split)] for name, split in splits.items()}, ["datapoints"])
        counts = {name: pd.Series(split.tensors[1].numpy()).value_counts() for name, split in splits.items()}
        return pd.DataFrame(counts).fillna(0).astype(int).sort_index().rename_axis("class")

    def plot(self, count: int = 20) -> "Figure":
        """The first of the training data, as a pair is given them."""
        from pyvae.pages.plots import draw_grid

        with isolated_rng(0):
            return draw_grid(self.train[torch.arange(min(count, len(self.train)))][0], 10)

    def _repr_html_(self) -> str:
        from pyvae.pages.snippet import snippet

        levels = "continuous" if self.levels is None else f"{self.levels} levels"
        facts = {
            "training data": f"{len(self.train):,}",
            "test data": f"{len(self.test):,}",
            "shape": " × ".join(map(str, self.shape)),
            "values": levels,
            "classes": ", ".join(self.class_names) or str(self.num_classes or "no labels"),
            "preprocessing": ", ".join(record["name"].replace("_", " ") for record in self.preprocessing) or "none",
        }
        return snippet(self.name, rows=list(facts.items()), figure=self.plot())

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape of x, as rows are when they are taken."""
        with isolated_rng():
            # of zeros, as a transform may refuse the first row
            return tuple(self.train.transform(torch.zeros_like(self.train.tensors[0][:1])).shape[1:])

    def without_labels(self) -> "DataSplits":
        """The same data as an unconditional pair takes them."""
        return replace(self, train=self.train.without_labels(), test=self.test.without_labels())

    def transformed(
        self,
        transform: Callable[[Tensor], Tensor],
        *,
        result_levels: int | None,
        units: Units | None = None,
        **record: object,
    ) -> "DataSplits":
        """The same data with one more transform of x.

        Args:
            transform: of the rows of x that are taken.
            result_levels: the ``levels`` of the result; None if it is continuous.
            units: what a density of the result says of x; by default nothing but of the result itself.
            record: what describes the transform, as JSON.
        """

        result = units or Units(data="x as preprocessed")

        def chained(split: InMemory) -> InMemory:
            def both(x: Tensor) -> Tensor:
                return transform(split.transform(x))

            return InMemory(*split.tensors, transform=both, factors=split.factors, units=result)

        preprocessing = (*self.preprocessing, record)
        train, test = chained(self.train), chained(self.test)
        return replace(self, train=train, test=test, levels=result_levels, preprocessing=preprocessing)

    def hold_out(self, fraction: float, seed: int = 0) -> tuple["DataSplits", InMemory | None]:
        """Split a random part off the training data for validation; None if ``fraction`` is 0.

        Raises:
            ArgumentError: if ``fraction`` is not in [0, 1).
            DataError: if one of the parts would be empty.
        """
        if not 0 <= fraction < 1:
            raise ArgumentError(f"the validation fraction is {fraction}; expected a number in [0, 1)")
        if fraction == 0:
            return self, None
        size = len(self.train)
        held = round(fraction * size)
        if not 0 < held < size:
            raise DataError(
                f"a validation fraction of {fraction} leaves {held} of {size} training data; both parts need some"
            )
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
        return replace(self, train=self.train.rows(order[held:])), self.train.rows(order[:held])
