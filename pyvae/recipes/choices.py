"""What follows from data for a recipe: a preprocessing, and a likelihood."""

import inspect
from collections.abc import Callable, Collection
from typing import Any

from pyvae import likelihoods
from pyvae.datasets import Kind, Values
from pyvae.recipes.recipe import plain_component

__all__ = ["likelihood_for", "preprocessing_for", "starting_at", "takes_of"]

_LIKELIHOODS = {
    Kind.BINARY: likelihoods.Bernoulli,
    Kind.LEVELS: likelihoods.DiscretizedLogisticMixture,
    Kind.INTENSITIES: likelihoods.ContinuousBernoulli,
    Kind.COUNTS: likelihoods.NegativeBinomial,
    Kind.REALS: likelihoods.Normal,
}


def takes_of(recipe: Callable[..., object]) -> frozenset[Kind]:
    """What values a recipe takes: those that it says, or those of the likelihoods that are chosen for it.

    A mixture for each element is much work for a network, and so is chosen for no one who does not ask for it.
    """
    if said := getattr(recipe, "takes", ()):
        return frozenset(said)
    counts = {Kind.COUNTS} if "log_input" in inspect.signature(recipe).parameters else set()
    return frozenset({Kind.BINARY, Kind.REALS} | counts)


def preprocessing_for(values: Values, takes: Collection[Kind]) -> str | None:
    """The name of the first preprocessing that makes of values what is taken; None if there is none.

    Example:
        >>> from pyvae import datasets
        >>> preprocessing_for(datasets.values_of(datasets.digits()), {Kind.BINARY, Kind.REALS})
        'dynamic_binarization'
    """
    return next((name for name, kind in _ways(values) if kind in takes), None)


def _ways(values: Values) -> list[tuple[str, Kind]]:
    """The preprocessings that suit values, with the kind of what they make; the best first.

    Colours are not binarized: that leaves static.
    """
    plain, continuous = ("no_preprocessing", values.kind), ("standardization", Kind.REALS)
    binary = [] if values.missing or values.channels > 1 else [("dynamic_binarization", Kind.BINARY)]
    if values.kind is Kind.BINARY:
        return [plain, *binary, ("no_preprocessing", Kind.COUNTS), continuous]
    if values.kind is Kind.LEVELS:
        return [plain, *binary, ("dequantization", Kind.REALS), ("no_preprocessing", Kind.INTENSITIES)]
    if values.kind is Kind.INTENSITIES:
        return [*binary, plain, continuous] if values.channels else [plain, continuous, *binary]
    return [plain, continuous] if values.kind is Kind.COUNTS else [continuous]


def likelihood_for(values: Values) -> dict[str, Any]:
    """The likelihood of values, as a recipe records it."""
    return starting_at(plain_component(_LIKELIHOODS[values.kind]), values)


def starting_at(likelihood: Any, values: Values) -> Any:
    """A likelihood as a recipe records it, with the scale from which it learns, and the levels, of the values.

    Those that are not the default stay: somebody has asked for them. A learned scale moves at the pace of the
    optimizer, and until it is near the scale of the errors, z is not used.
    """
    given = likelihood.get("init_args", {}) if isinstance(likelihood, dict) else {}
    changes = {}
    if given.get("learn_scale") and given.get("scale") == 1.0 and values.scale > 0:
        changes["scale"] = float(f"{values.scale:.2g}")
    if "levels" in given and given["levels"] == 256 and values.levels:
        changes["levels"] = values.levels
    return {**likelihood, "init_args": {**given, **changes}} if changes else likelihood
