"""Codes and the factors of the same data as arrays, and how they are checked and split."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.model_selection import train_test_split
from torch import Tensor

from pyvae.core.arguments import check_seed
from pyvae.errors import RUN_ERRORS, ArgumentError, DataError

__all__ = ["checked_codes", "checked_factors", "held_out"]

_LEAST = 10
_ROUNDING = 8 * np.finfo(np.float64).eps  # of numbers of which the largest is between ½ and 1


def _as_array(name: str, values: ArrayLike | Tensor) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype is torch.bfloat16 else values  # which numpy does not know
    try:
        array = np.asarray(values)
    except RUN_ERRORS as error:
        raise DataError(f"the {name} are no array ({error}); expected a matrix, with rows of equal length") from error
    if array.ndim != 2 or not array.shape[1]:
        raise DataError(f"the {name} have shape {array.shape}; expected (N, number of {name}), a row per datapoint")
    return array


def checked_codes(codes: ArrayLike | Tensor) -> np.ndarray:
    """Codes as a float64 matrix, each dimension scaled by a power of 2; one that is constant but for rounding is 0.

    No measure depends on the scale of a dimension, but variances under- and overflow, and trees take what varies by
    less than 1e-7 for constant.

    Raises:
        DataError: if they are no matrix of finite numbers, or have fewer than 10 rows.
    """
    array = _as_array("codes", codes)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise DataError(f"the codes are of type {array.dtype}; expected real numbers")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        row, column = bad[0]
        raise DataError(f"code {column} of row {row} is {array[row, column]}; expected finite numbers")
    if len(array) < _LEAST:
        raise DataError(f"there are {len(array)} rows of codes; expected at least {_LEAST}")
    codes = array.astype(np.float64)
    _, exponents = np.frexp(np.abs(codes).max(0))
    codes = np.ldexp(codes, -exponents)
    return np.where(np.ptp(codes, axis=0) > _ROUNDING, codes, 0.0)


def checked_factors(factors: ArrayLike | Tensor, rows: int) -> np.ndarray:
    """Factors as a matrix of ints, each column counted from 0 without gaps.

    Raises:
        DataError: if they are no ints, not of ``rows`` data, or one of them does not vary.
    """
    array = _as_array("factors", factors)
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"the factors are of type {array.dtype}; expected ints, which number the values: cut real ones into bins, "
            "for example with numpy.digitize"
        )
    if len(array) != rows:
        raise DataError(f"there are {len(array)} rows of factors and {rows} of codes; expected equally many")
    columns = [np.unique(column, return_inverse=True) for column in array.T]
    for index, (values, _) in enumerate(columns):
        if len(values) < 2:
            raise DataError(f"factor {index} is {values[0]} in all rows; expected factors that vary: leave it out")
    return np.stack([numbers.reshape(-1) for _, numbers in columns], 1)


def held_out(rows: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows to fit a classifier on, and those to score it on.

    Raises:
        ArgumentError: if ``share`` is not between 0 and 1, or ``seed`` no seed.
    """
    check_seed(seed)
    if not isinstance(share, float) or not 0 < share < 1:
        raise ArgumentError(f"test_size is {share!r}; expected a number between 0 and 1, the share of the rows")
    if not 2 <= round(share * rows) <= rows - 2:
        raise DataError(f"test_size {share} of {rows} rows leaves too few on one side; expected at least 2")
    train, test = train_test_split(np.arange(rows), test_size=share, random_state=seed)
    return train, test
