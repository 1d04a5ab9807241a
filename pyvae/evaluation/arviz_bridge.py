"""The bridge to ArviZ: Pareto smoothing and containers, by ArviZ 0.x or 1.x, whichever is installed."""

import math
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyvae.core.arguments import check_int
from pyvae.errors import ArgumentError

__all__ = ["FEWEST_DRAWS", "container", "good_k", "pareto_smoothed"]

#: of fewer draws, the largest fifth, to which the tail is fitted, would be less than five
FEWEST_DRAWS = 25
_CONSTANT = 0.01  # nats between the largest and the smallest log weight


def pareto_smoothed(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    r"""Pareto-smoothed importance weights of each datapoint, with the shape parameter k̂ of their tail.

    .. math:: \log \tilde w_{sn}, \qquad \sum_s \tilde w_{sn} = 1

    The largest weights are replaced by quantiles of the Pareto distribution fitted to them.

    k̂_n is the shape of that distribution; an estimate by the weights of datapoint n has a finite variance if k < ½,
    and is of use in practice up to :func:`good_k`. ArviZ's own ``psislw`` does the work, for one datapoint after
    another.

    Two cases have no tail to fit. Where no two weights are further than 1 % apart, the guide is as good as exact for
    this datapoint: k̂ is reported as 0, the largest k of which all moments are finite, and the weights stay as they
    are; what is fitted to them would be the rounding of the networks. Where one weight, or a few equal ones, stand
    out from equal others, k̂ is +∞, a warning as if the tail were too heavy, and the weights stay as they are.

    Args:
        log_weights: (S, N), in nats, as of :func:`pyvae.log_weights`; −∞ is a weight of zero.

    Returns:
        log w̃, (S, N), and k̂, (N,), float64, on the device of the weights. Neither is ever NaN.

    Raises:
        ArgumentError: if S is less than 25; if weights are NaN or +∞, or all those of a datapoint are zero.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry, *Pareto smoothed importance sampling*, 2024, algorithm 1.

    Example:
        >>> normal = torch.distributions.Normal(0.0, 1.0)
        >>> z = 0.7 * torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))  # of a guide that is too narrow
        >>> log_weights = normal.log_prob(z) - torch.distributions.Normal(0.0, 0.7).log_prob(z)
        >>> smoothed, k = pareto_smoothed(log_weights)
        >>> bool(abs(smoothed.logsumexp(0)) < 1e-9), bool(0 < k < 0.7)
        (True, True)
    """
    _check(log_weights)
    raw = log_weights.detach().to(torch.float64)
    normalized = raw - raw.logsumexp(0)
    rows = normalized.T.contiguous().cpu().numpy()  # datapoints first, as ArviZ has them
    smoothed, shapes = rows.copy(), np.zeros(len(rows))
    psislw = _psislw()
    with np.errstate(all="ignore"):  # of weights that differ by hundreds of nats; what overflows is not finite below
        for n in np.flatnonzero(np.ptp(rows, axis=1) > _CONSTANT):
            try:
                values, k = psislw(rows[n])
            except ValueError:  # of ArviZ 1.x, where the largest weights are equal
                values, k = rows[n], math.inf
            if np.isfinite(k) and np.isfinite(values.max()):
                smoothed[n], shapes[n] = values, k
            else:
                shapes[n] = math.inf
    return torch.from_numpy(smoothed).T.contiguous().to(raw.device), torch.from_numpy(shapes).to(raw.device)


def good_k(num_draws: int) -> float:
    r"""The largest k̂ at which S samples are enough for a trustworthy estimate.

    .. math:: \min(1 - 1/\log_{10} S, \; 0.7)

    Raises:
        ArgumentError: if ``num_draws`` is less than 2.

    References:
        Vehtari et al., *Pareto smoothed importance sampling*, 2024, on the threshold that depends on S.

    Example:
        >>> round(good_k(1000), 3), good_k(10_000)
        (0.667, 0.7)
    """
    check_int("num_draws", num_draws, 2)
    return min(1 - 1 / math.log10(num_draws), 0.7)


def container(groups: Mapping[str, Any], attributes: Mapping[str, Any]) -> Any:
    """A container of groups for ArviZ: an ``arviz.InferenceData`` (0.x), or an ``xarray.DataTree`` (1.x).

    Args:
        groups: an ``xarray.Dataset`` for each name, such as ``posterior``; ArviZ need not know the name.
        attributes: of the whole; strings and numbers, so that they can be written to a file.

    Example:
        >>> import xarray
        >>> container({"posterior": xarray.Dataset({"z": (("chain", "draw"), [[1.0, 2.0]])})}, {}).posterior.z.size
        2
    """
    arviz = _arviz()
    if _is_legacy(arviz):
        return arviz.InferenceData(attrs=dict(attributes), **groups)
    from xarray import Dataset, DataTree

    return DataTree.from_dict({"/": Dataset(attrs=dict(attributes)), **groups})


def _check(log_weights: Tensor) -> None:
    if not isinstance(log_weights, Tensor) or log_weights.dim() != 2 or not log_weights.is_floating_point():
        came = tuple(log_weights.shape) if isinstance(log_weights, Tensor) else type(log_weights).__name__
        raise ArgumentError(f"got log weights {came}; expected a floating tensor (S, N), as of pyvae.log_weights")
    if len(log_weights) < FEWEST_DRAWS:
        raise ArgumentError(
            f"got {len(log_weights)} samples per datapoint; expected at least {FEWEST_DRAWS}, of which the largest "
            "fifth has a tail to fit: raise num_particles"
        )
    largest = log_weights.detach().amax(0)
    wrong = log_weights.detach().isnan().any(0) | ~largest.isfinite()
    if wrong.any():
        n = int(wrong.nonzero()[0])
        raise ArgumentError(
            f"the largest log weight of datapoint {n} is {float(largest[n])}; expected finite log weights, of which "
            "some, but not all, may be -inf"
        )


@cache
def _arviz() -> ModuleType:
    """ArviZ, imported when it is first needed: that takes seconds, and version 0.23 announces version 1."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing", FutureWarning)
        import arviz
    return arviz


def _is_legacy(arviz: ModuleType) -> bool:
    """Whether this is ArviZ 0.x; of later ones, asking for the attribute would warn."""
    return "InferenceData" in vars(arviz)


@cache
def _psislw() -> Callable[[np.ndarray], tuple[np.ndarray, float]]:
    """From the log weights of one datapoint, (S,), to smoothed ones, and k̂."""
    arviz = _arviz()
    if _is_legacy(arviz):
        return lambda row: arviz.psislw(row)
    from arviz_stats.base import array_stats

    return lambda row: array_stats.psislw(-row)  # which takes the log likelihood to leave out
