"""Data of which only some keep their labels."""

from dataclasses import replace

import torch

from pyvae.core.arguments import check_int
from pyvae.datasets.data import DataSplits, InMemory
from pyvae.errors import DataError

__all__ = ["keep_labels"]


def keep_labels(data: DataSplits, count: int, seed: int = 0) -> DataSplits:
    r"""Hide the labels of all training data but some, to train with few labels and know the rest.

    A hidden label is −1, as :class:`pyvae.SemiSupervisedVAE` takes it. The labels that are kept have the classes in the
    proportions of the data; the test data keep all. What is held out for validation afterwards takes its share of the
    ``count`` along.

    Args:
        data: with labels.
        count: the number of training data that keep their label, at least one of each class.
        seed: of the choice.

    Raises:
        DataError: if there are no labels, some are hidden already, or ``count`` leaves a class without one that is kept
            or hidden.

    Example:
        >>> from pyvae import datasets
        >>> _, y = keep_labels(datasets.digits(), 100).train.tensors
        >>> int((y >= 0).sum()), int((y == 3).sum())
        (100, 10)
    """
    from sklearn.model_selection import train_test_split  # slow to import

    check_int("count", count)
    if not data.num_classes:
        raise DataError(f"{data.name} has no labels; expected some to keep")
    y = data.train.tensors[1]
    if bool((y < 0).any()):
        raise DataError(f"{int((y < 0).sum()):,} of {len(y):,} labels of {data.name} are hidden already; take it as is")
    classes = len(y.unique())
    if not classes <= count <= len(y) - classes:
        raise DataError(
            f"{count:,} labels are to be kept; expected {classes} to {len(y) - classes:,}, so that each class has one "
            "that is kept and one that is hidden"
        )
    kept, _ = train_test_split(range(len(y)), train_size=count, stratify=y, random_state=seed)
    few = torch.full_like(y, -1)
    few[kept] = y[kept]
    return replace(data, train=_labelled(data.train, few))


def _labelled(split: InMemory, y: torch.Tensor) -> InMemory:
    tensors = (split.tensors[0], y, *split.tensors[2:])
    return InMemory(*tensors, transform=split.transform, factors=split.factors, units=split.units)
