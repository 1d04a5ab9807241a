"""A user's own arrays."""

import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from pyvae.datasets.data import DataSplits, InMemory
from pyvae.errors import DataError

__all__ = ["arrays"]


def arrays(path: str) -> DataSplits:
    """The rows of a ``.npy`` file, or the arrays ``x``, ``y``, ``x_test``, ``y_test`` of an ``.npz`` file.

    Only ``x`` is required. Without ``x_test``, every tenth row is kept for the test. Bytes (uint8) are scaled to
    [0, 1], other numbers are taken as they are, in float32; labels are integers from 0. Some pairs take NaN for values
    that are missing, and −1 for such labels. Images have the shape (rows,
    channels, height, width), vectors (rows, columns). No pickled object is read.

    Raises:
        DataError: if the file is unreadable, has no x, holds something else than numbers, or infinity; or if labels
            and rows do not match.
    """
    try:
        content = np.load(path, allow_pickle=False)
        found = {"x": content} if isinstance(content, np.ndarray) else {n: content[n] for n in content.files}
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(f"cannot read {path!r}: {error}; expected a .npy or .npz file of numbers") from error
    if "x" not in found:
        raise DataError(f"{path!r} holds {sorted(found)}; expected an array 'x' with one row per datapoint")
    x, y = _numbers(path, found["x"]), _labels(path, found.get("y"), len(found["x"]) if found["x"].ndim else 0)
    if "x_test" in found:
        x_test = _numbers(path, found["x_test"])
        y_test = _labels(path, found.get("y_test"), len(x_test))
        if x_test.dtype != x.dtype:
            raise DataError(f"{path!r}: only one of x and x_test is uint8, and so scaled by 255; save both alike")
        if x_test.shape[1:] != x.shape[1:] or (y is None) != (y_test is None):
            here, there = ("without" if labels is None else "with" for labels in (y, y_test))
            raise DataError(
                f"{path!r}: the rows of x are {tuple(x.shape[1:])} {here} labels, those of x_test "
                f"{tuple(x_test.shape[1:])} {there} labels; expected the same"
            )
        train, test = (x, y), (x_test, y_test)
    else:
        last = torch.arange(len(x)) % 10 == 9
        train = (x[~last], None if y is None else y[~last])
        test = (x[last], None if y is None else y[last])
    if not len(train[0]) or not len(test[0]):
        raise DataError(f"{path!r} gives {len(train[0])} training and {len(test[0])} test rows; expected some of both")
    return DataSplits(
        Path(path).name,
        InMemory(*(t for t in train if t is not None)),
        InMemory(*(t for t in test if t is not None)),
        num_classes=0 if y is None else int(y.max()) + 1,
        levels=256 if x.dtype == torch.uint8 else None,
    )


def _numbers(path: str, array: np.ndarray) -> Tensor:
    if array.dtype.kind not in "fiub" or array.ndim < 2 or 0 in array.shape[1:]:
        raise DataError(
            f"{path!r}: x has dtype {array.dtype} and shape {array.shape}; expected numbers of shape (rows, …)"
        )
    if array.ndim == 4 and array.shape[-1] in (1, 3) and array.shape[1] not in (1, 3):
        raise DataError(
            f"{path!r}: x has shape {array.shape}, with the channels last; expected (rows, channels, height, width): "
            "x.transpose(0, 3, 1, 2)"
        )
    if array.dtype == np.uint8 and array.max() <= 1:
        raise DataError(
            f"{path!r}: x has bytes of 0 and 1 alone, which would be scaled by 255; save it as bool or float"
        )
    if array.dtype == np.uint8:
        return torch.from_numpy(array)
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    if np.isinf(single).any():
        raise DataError(f"{path!r} holds infinity, or numbers beyond float32; clean or rescale the data first")
    return torch.from_numpy(single)


def _labels(path: str, array: np.ndarray | None, rows: int) -> Tensor | None:
    if array is None:
        return None
    if array.dtype.kind not in "iu" or array.shape != (rows,) or (rows and array.min() < -1):
        raise DataError(
            f"{path!r}: y has dtype {array.dtype} and shape {array.shape}; expected integers from 0 (-1 where they are "
            f"not known), shape ({rows},)"
        )
    if rows and array.max() >= rows:
        raise DataError(f"{path!r}: y has labels up to {array.max()} in {rows} rows; expected classes from 0")
    return torch.from_numpy(array.astype(np.int64))
