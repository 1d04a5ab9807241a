"""The base measures of a pair's densities: figures in nats compare only between pairs that share them."""

from collections.abc import Mapping

import torch
from pyro.distributions import Bernoulli
from torch import Tensor
from torch.distributions import Distribution

from pyvae.distributions import PartiallyObserved
from pyvae.inspection.elements import counted, which_count
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import has_support, unwrapped

__all__ = ["DENSITY", "kind_of", "observed_kinds", "what_counts"]

DENSITY = "a density"


def observed_kinds(inspection: Inspection) -> dict[str, float]:
    """The number of elements per datapoint that count under each kind of density or probability, described in words."""
    found: dict[str, float] = {}
    for name in inspection.observed:
        site = inspection.model.nodes[name]
        kind = kind_of(site)
        found[kind] = found.get(kind, 0) + int(which_count(site).sum()) / inspection.size
    return found


def what_counts(site: Mapping) -> tuple[Distribution, Tensor]:
    """The distribution of single elements or points of a site, and those of its value that count, in a row."""
    distribution, value, elements = unwrapped(site["fn"]), site["value"], counted(site)
    if isinstance(distribution, PartiallyObserved):
        distribution = unwrapped(distribution.base_dist)
    return distribution, value.flatten() if elements is None else value[elements]


def kind_of(site: Mapping) -> str:
    """The kind of density or probability of a site, in words.

    A distribution with an attribute ``levels`` gives probabilities of that many levels.
    """
    distribution, value = what_counts(site)
    if isinstance(distribution, Bernoulli):  # whose support may be widened, or unchecked, to train on intensities
        binary = bool(((value == 0) | (value == 1)).all())
        return "a probability of 2 levels" if binary else "a cross-entropy of intensities"
    if isinstance(levels := getattr(distribution, "levels", None), int):
        return f"a probability of {levels} levels"
    if has_support(distribution) and distribution.support.is_discrete and not value.is_complex():
        whole = not value.is_floating_point() or torch.equal(value, value.round())
        return "a probability of integers" if whole else "a cross-entropy of intensities"
    return DENSITY
