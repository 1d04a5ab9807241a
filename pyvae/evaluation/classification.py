"""Classification: the labels that a pair infers beside those that are known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyvae.batching.batches import Data, batches_for, inspect_data
from pyvae.core.random_streams import seeded_rng
from pyvae.errors import DataError, PairError
from pyvae.inspection.inspection import Inspection

__all__ = ["Classification", "ConfusionCounts", "classification"]

_ROWS = 4096
_EXPECTED = "(x, y) with integers y, and -1 where one is not known"


@dataclass(frozen=True, repr=False)
class Classification:
    """How well inferred labels agree with known ones.

    Attributes:
        confusion: the number of datapoints by known class (rows) and inferred class (columns), (K, K) int64.

    Example:
        >>> Classification(torch.tensor([[8, 2], [1, 9]]))
        <Classification: accuracy 0.850 ± 0.080 on 20 labelled datapoints>
    """

    confusion: Tensor

    @property
    def num_labels(self) -> int:
        """The number of datapoints with a known label."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The share of the labels that are inferred right."""
        return int(self.confusion.trace()) / self.num_labels

    @property
    def standard_error(self) -> float:
        """The error of the accuracy that comes from the sampling of the data, √(a (1 − a) / N)."""
        return math.sqrt(self.accuracy * (1 - self.accuracy) / self.num_labels)

    def figures(self) -> dict[str, float]:
        """The accuracy and its error by name."""
        return {"accuracy": self.accuracy, "accuracy_dataset_standard_error": self.standard_error}

    def __repr__(self) -> str:
        figure = f"{self.accuracy:.3f} ± {self.standard_error:.3f}"
        return f"<Classification: accuracy {figure} on {self.num_labels} labelled datapoints>"


class ConfusionCounts:
    """The counts behind a :class:`Classification`, batch by batch.

    Args:
        inspection: of the pair.
    """

    def __init__(self, inspection: Inspection) -> None:
        self._inspection, self._counts = inspection, None

    @property
    def apply(self) -> bool:
        """Whether the pair infers labels, and its data have them beside x.

        The method ``classify`` of a pair that somebody else wrote may be something else: it is tried.
        """
        x, *others = self._inspection.arguments
        if not hasattr(self._inspection.pair, "classify") or len(others) != 1 or not _are_labels(others[0]):
            return False
        try:
            self._probabilities(x)
        except Exception:  # whatever a method raises that is none of ours
            return False
        return True

    def add(self, args: Sequence[Tensor]) -> None:
        """Count a batch (x, y); −1 is a label that is not known."""
        x, y = args
        probabilities = self._probabilities(x)
        size, known = probabilities.shape[1], y >= 0
        if int(y.max()) >= size:
            raise DataError(f"the labels go up to {int(y.max())}; expected less than {size}, the number of classes")
        cells = (size * y + probabilities.argmax(-1))[known].bincount(minlength=size**2).view(size, size).cpu()
        self._counts = cells if self._counts is None else self._counts + cells

    def _probabilities(self, x: Tensor) -> Tensor:
        """The class probabilities of x, (N, K)."""
        with self._inspection.at_rest(), torch.no_grad():
            found = self._inspection.pair.classify(x)
        if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != len(x) or not found.is_floating_point():
            came = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise PairError(f"classify returned {came} for {len(x)} datapoints; expected probabilities ({len(x)}, K)")
        return found

    def result(self) -> Classification | None:
        """The classification of all batches; None if no label was known."""
        if self._counts is None or not self._counts.any():
            return None
        return Classification(self._counts)


def classification(pair: nn.Module, data: Data, seed: int | None = None) -> Classification:
    r"""Compare the labels that a pair infers with those of the data, in evaluation mode.

    .. math:: \hat y_n = \arg\max_y q(y \mid x_n), \qquad \text{accuracy} = \frac 1N \sum_n 1[\hat y_n = y_n]

    Args:
        pair: a pair with a method ``classify``, from x to class probabilities (N, K), as
            :class:`pyvae.SemiSupervisedVAE` has it.
        data: as for :func:`pyvae.fit`: x with labels y, of which −1 is one that is not known and does not count.
        seed: of a random transform of the data; without one, as for :func:`pyvae.fit`.

    Returns:
        :class:`Classification`: ``confusion``, ``accuracy`` and its ``standard_error``.

    Raises:
        PairError: if the pair has no ``classify``, or it returns other shapes.
        DataError: if no label is known, or one is no class of the pair.

    Example:
        >>> import pyvae
        >>> pair = pyvae.recipes.semi_supervised(shape=(5,), num_classes=3, latent_dim=2, hidden=[8])
        >>> result = classification(pair, (torch.rand(7, 5).round(), torch.tensor([0, 1, 2, -1, 0, 1, -1])))
        >>> result.num_labels, result.confusion.shape
        (5, torch.Size([3, 3]))
    """
    if not hasattr(pair, "classify"):
        raise PairError(
            f"{type(pair).__name__} has no method classify, from x to class probabilities (N, K), as "
            "pyvae.SemiSupervisedVAE has it"
        )
    batches = batches_for(pair, data, _ROWS)
    inspection = inspect_data(pair, batches)
    if len(inspection.arguments) != 2 or not _are_labels(inspection.arguments[1]):
        raise DataError(f"the data have no labels; expected {_EXPECTED}")
    counts = ConfusionCounts(inspection)
    with seeded_rng(seed):
        for batch in batches.in_order():
            counts.add(batch)
    result = counts.result()
    if result is None:
        raise DataError(f"no label of the data is known; expected {_EXPECTED}")
    return result


def _are_labels(y: object) -> bool:
    return isinstance(y, Tensor) and y.dim() == 1 and y.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8)
