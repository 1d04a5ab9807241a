"""What the values of data are, by which a preprocessing and a likelihood are chosen."""

import math
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from pyvae.core.random_streams import isolated_rng
from pyvae.datasets.data import DataSplits

__all__ = ["Kind", "Values", "values_of"]

_ROWS = 4096  # that are looked at together


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
    """What the values of the training data are, as rows are when they are taken."""
    parts = []
    with isolated_rng(0):  # a preprocessing may draw
        for x in data.train.tensors[0].split(_ROWS):
            parts.append(_Part.of(data.train.transform(x)))
    low, high = min(p.low for p in parts), max(p.high for p in parts)
    kind = _kind(data, low, high, all(p.whole for p in parts))
    count = sum(p.count for p in parts).clamp(min=1)
    mean = sum(p.sums for p in parts) / count
    variance = sum(p.squares for p in parts) / count - mean.square()
    return Values(
        kind,
        2 if kind is Kind.BINARY else data.levels,
        data.shape[0] if len(data.shape) == 3 else 0,
        missing=any(p.missing for p in parts),
        scale=math.sqrt(max(float(variance.mean()), 0.0)),
        total=float(mean.sum()),
    )


@dataclass(frozen=True)
class _Part:
    """Sums and bounds of some rows; NaN does not count."""

    low: float
    high: float
    whole: bool
    missing: bool
    count: Tensor
    sums: Tensor
    squares: Tensor

    @classmethod
    def of(cls, x: Tensor) -> "_Part":
        gaps = x.isnan()
        return cls(
            low=float(torch.where(gaps, torch.inf, x).min()),
            high=float(torch.where(gaps, -torch.inf, x).max()),
            whole=bool(((x == x.round()) | gaps).all()),
            missing=bool(gaps.any()),
            count=(~gaps).sum(0),
            sums=x.double().nansum(0),
            squares=x.double().square().nansum(0),
        )


def _kind(data: DataSplits, low: float, high: float, whole: bool) -> Kind:
    if data.levels:
        return Kind.BINARY if data.levels == 2 else Kind.LEVELS
    if data.preprocessing:  # which made them continuous
        return Kind.REALS
    if whole and low >= 0:
        return Kind.BINARY if high <= 1 else Kind.COUNTS
    return Kind.INTENSITIES if low >= 0 and high <= 1 else Kind.REALS
