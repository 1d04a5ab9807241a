"""scikit-learn's handwritten digits, which come with the package."""

import numpy as np
import torch

from pyvae.datasets.data import DataSplits, InMemory

__all__ = ["digits"]


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
