"""Checks of tensors before they are used."""

import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyvae.errors import DataError

__all__ = ["check_tensors", "extreme_rows", "numbers_of"]

_LOG_HINT = "; it holds −inf, as the logarithm of 0 is: leave out what is empty, or take torch.log1p"
_HINT = ", or where values are missing use likelihoods.MissingAtRandom"


def numbers_of(tensor: Tensor) -> Tensor:
    """The numbers that a tensor holds; of a sparse one, those that are not zero."""
    return tensor.coalesce().values() if tensor.is_sparse else tensor


def extreme_rows(tensors: Sequence[Tensor]) -> Tensor:
    """The rows that hold the smallest and the largest number of each tensor."""
    rows = [torch.tensor(0)]
    for tensor in tensors:
        if tensor.numel() and not tensor.is_complex():
            matrix = tensor.reshape(len(tensor), -1)
            matrix = matrix.to(torch.uint8) if matrix.dtype == torch.bool else matrix
            rows += [_extreme(matrix, torch.argmin, torch.amin, math.inf)]
            rows += [_extreme(matrix, torch.argmax, torch.amax, -math.inf)]
    return torch.stack(rows)


def _extreme(matrix: Tensor, choose: Callable, reduce: Callable, end: float) -> Tensor:
    """The row with the smallest or largest number; NaN, in whose place is the other ``end``, is none."""
    ends = reduce(matrix, 1)
    gaps = ends.isnan()
    if gaps.any():
        ends[gaps] = reduce(matrix[gaps].nan_to_num(nan=end), 1)
    return choose(ends).cpu()


def check_tensors(tensors: Sequence[Tensor], name: str, missing: bool = False) -> None:
    """Refuse tensors of unequal lengths, without rows, sparse, or with numbers that are not finite.

    Args:
        tensors: the tensors, one row per datapoint each.
        name: what to call them.
        missing: whether NaN stands for a value that is missing in the first of them, the data.

    Raises:
        DataError: saying what is wrong, and in which row.
    """
    if any(t.layout != torch.strided for t in tensors):
        raise DataError(f"{name}: sparse tensors cannot be cut into batches; pass x.to_dense()")
    if any(t.dim() == 0 for t in tensors) or not len(tensors[0]):
        shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
        raise DataError(f"{name} has shape {shapes}; expected at least one row per datapoint")
    if len({len(t) for t in tensors}) > 1:
        raise DataError(
            f"{name}: the tensors have {', '.join(str(len(t)) for t in tensors)} rows; expected equally many"
        )
    if missing and tensors[0].is_floating_point() and tensors[0].dim() > 1:
        _warn_of_empty_rows(tensors[0], name)
    for index, tensor in enumerate(tensors):
        if tensor.is_floating_point():
            for start, rows in zip(range(0, len(tensor), 4096), tensor.split(4096), strict=False):
                bad = rows.isinf() if missing and index == 0 else ~rows.isfinite()
                bad = bad.flatten(1).any(1) if rows.dim() > 1 else bad
                if bad.any():
                    row = start + int(bad.nonzero()[0])
                    what = "infinity" if missing and index == 0 else "NaN or infinity"
                    hint = _HINT if index == 0 and rows.isnan().any() else ""
                    hint += _LOG_HINT if rows.isneginf().any() else ""
                    raise DataError(
                        f"{name}: tensor {index} holds {what}, first in row {row}; clean the data first{hint}"
                    )


def _warn_of_empty_rows(tensor: Tensor, name: str) -> None:
    """Warn of rows of which nothing was observed: they count in means per datapoint."""
    empty = torch.cat([rows.isnan().flatten(1).all(1) for rows in tensor.split(4096)])
    if empty.any():
        warnings.warn(
            f"{name}: nothing was observed of {int(empty.sum())} of {len(tensor)} rows, first of row "
            f"{int(empty.nonzero()[0])}: their densities are 0, and they count in all figures per datapoint; leave "
            "them out, x[~x.isnan().flatten(1).all(1)]",
            stacklevel=6,
        )
