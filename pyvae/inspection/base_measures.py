"""The base measures of a pair's densities: figures in nats compare only between pairs that share them."""

import torch
from pyro.distributions import Bernoulli
from torch import Tensor
from torch.distributions import Distribution

from pyvae.distributions import PartiallyObserved
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import has_support, unwrapped

__all__ = ["observed_kinds"]


def observed_kinds(inspection: Inspection) -> dict[str, int]:
    """The number of elements per datapoint under each kind of density or probability, described in words.

    A distribution with an attribute ``levels`` gives probabilities of that many levels.
    """
    found: dict[str, int] = {}
    for name in inspection.observed:
        site = inspection.model.nodes[name]
        kind = _kind(unwrapped(site["fn"]), site["value"])
        found[kind] = found.get(kind, 0) + site["value"].numel() // len(inspection.arguments[0])
    return found


def _kind(distribution: Distribution, value: Tensor) -> str:
    if isinstance(distribution, PartiallyObserved):
        distribution, value = unwrapped(distribution.base_dist), value[~value.isnan()]
    if isinstance(distribution, Bernoulli):  # whose support may be widened, or unchecked, to train on intensities
        binary = bool(((value == 0) | (value == 1)).all())
        return "a probability of 2 levels" if binary else "a cross-entropy of intensities"
    if isinstance(levels := getattr(distribution, "levels", None), int):
        return f"a probability of {levels} levels"
    if has_support(distribution) and distribution.support.is_discrete and not value.is_complex():
        whole = not value.is_floating_point() or torch.equal(value, value.round())
        return "a probability of integers" if whole else "a cross-entropy of intensities"
    return "a density"
