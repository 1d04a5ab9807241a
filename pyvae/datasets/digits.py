"""scikit-learn's handwritten digits, which come with the package, whole and with gaps."""

from dataclasses import replace

import numpy as np
import torch

from pyvae.datasets.data import DataSplits, InMemory

__all__ = ["digits", "digits_with_gaps"]


def digits(root: str = "data", download: bool = False) -> DataSplits:
    """The handwritten digits of scikit-learn: 1,797 images of 1×8×8 with 17 grey levels, in 10 classes.

    1,437 are for training and 360 for testing, the same each time.

    Args:
        root: unused: the data come with scikit-learn.
        download: unused.

    References:
        Alpaydin and Kaynak, *Optical recognition of handwritten digits*, UCI machine learning repository, 1998.

    Example:
        >>> digits().shape, len(digits().train)
        ((1, 8, 8), 1437)
    """
    from sklearn.datasets import load_digits  # slow: only for those who use it
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    order = np.arange(len(labels))
    train, test = train_test_split(order, test_size=360, stratify=labels, random_state=0)
    x = torch.as_tensor(images / 16, dtype=torch.float32).unflatten(1, (1, 8, 8))
    y = torch.as_tensor(labels, dtype=torch.long)
    return DataSplits("digits", InMemory(x[train], y[train]), InMemory(x[test], y[test]), num_classes=10, levels=17)


def digits_with_gaps(root: str = "data", download: bool = False) -> DataSplits:
    """The digits of :func:`digits` of which half of the pixels are missing, at random: they are NaN.

    The same pixels each time. Row for row, :func:`digits` has what is missing.

    Args:
        root: unused: the data come with scikit-learn.
        download: unused.

    Example:
        >>> gaps = digits_with_gaps().test.tensors[0].isnan()
        >>> round(gaps.float().mean().item(), 1)
        0.5
    """
    whole, generator = digits(root, download), torch.Generator().manual_seed(0)

    def gappy(split: InMemory) -> InMemory:
        x, *labels = split.tensors
        return InMemory(x.masked_fill(torch.rand(x.shape, generator=generator) < 0.5, torch.nan), *labels)

    return replace(whole, name="digits with gaps", train=gappy(whole.train), test=gappy(whole.test))
