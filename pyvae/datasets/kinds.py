"""What the values of data are, by which a preprocessing and a likelihood are chosen."""

import math
from dataclasses import dataclass
from enum import StrEnum

import torch

from pyvae.core.random_streams import isolated_rng
from pyvae.datasets.data import DataSplits

__all__ = ["Kind", "Values", "values_of"]

_ROWS = 4096  # that are looked at together, and whose moments are taken


class Kind(StrEnum):
    """What the values of data are, and of what a likelihood is a distribution."""

    BINARY = "binary values"
    LEVELS = "grey levels"
    INTENSITIES = "numbers in [0, 1]"
    COUNTS = "counts"
    REALS = "real numbers"


@dataclass(frozen=True)
class Values:
    """What is known of the values of data.

    Attributes:
        kind: what they are.
        levels: how many values there are, of binary values and levels.
        channels: of images; 0 for all else.
        missing: whether some are NaN.
        scale: their standard deviation around the mean of each element of x.
        total: the mean of the sum of x.

    Example:
        >>> from pyvae.datasets import digits
        >>> values = values_of(digits())
        >>> values.kind, values.levels, values.channels
        (<Kind.LEVELS: 'grey levels'>, 17, 1)
    """

    kind: Kind
    levels: int | None
    channels: int
    missing: bool
    scale: float
    total: float

    def __str__(self) -> str:
        words = str(self.kind)
        if self.kind is Kind.LEVELS:
            several, one = f"images with {self.channels} channels of {self.levels}", f"images in {self.levels} grey"
            words = f"{several if self.channels > 1 else one if self.channels else f'numbers on {self.levels}'} levels"
        return f"{words} with missing values" if self.missing else words


def values_of(data: DataSplits) -> Values:
    """What the values of the training data are, as rows are when they are taken; the moments are those of some rows."""
    rows = data.train.tensors[0]
    with isolated_rng(0):  # a preprocessing may draw
        some = data.train.transform(rows[:: -(-len(rows) // _ROWS)]).double()
    mean, square = some.nanmean(0).nan_to_num(), some.square().nanmean(0).nan_to_num()
    kind = _kind(data)
    return Values(
        kind,
        2 if kind is Kind.BINARY else data.levels,
        data.shape[0] if len(data.shape) == 3 else 0,
        missing=bool(rows.isnan().any()) if rows.is_floating_point() else False,
        scale=math.sqrt(max(float((square - mean.square()).mean()), 0.0)),
        total=float(mean.sum()),
    )


def _kind(data: DataSplits) -> Kind:
    if data.levels:
        return Kind.BINARY if data.levels == 2 else Kind.LEVELS
    if data.preprocessing:  # which made them continuous
        return Kind.REALS
    low, high, whole = torch.inf, -torch.inf, True
    for rows in data.train.tensors[0].split(_ROWS):
        x = data.train.transform(rows)
        seen = x[~x.isnan()]
        if seen.numel():
            low, high = min(low, float(seen.min())), max(high, float(seen.max()))
            whole = whole and bool((seen == seen.round()).all())
    if whole and low >= 0:
        return Kind.BINARY if high <= 1 else Kind.COUNTS
    return Kind.INTENSITIES if low >= 0 and high <= 1 else Kind.REALS
