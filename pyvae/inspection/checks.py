"""Checks of a pair's data and shapes against its distributions."""

from collections.abc import Mapping

import torch
from pyro.distributions import Delta
from pyro.util import check_site_shape
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyvae.errors import DataError, PairError, errors_as, first_lines
from pyvae.inspection.elements import counted
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.plates import to_event_advice
from pyvae.inspection.sites import has_support, in_words, is_discrete, stochastic_sites, support_in_words, unwrapped

__all__ = ["check_data", "check_measures", "check_shapes", "validated_sites"]

_RESCALE = "rescale or binarize them, or choose another likelihood"
_PADDING = (
    "those outside are masked, but their densities are computed nevertheless, and then left out: put a number of the "
    "support in their place, x.masked_fill(~mask, …)"
)


def check_data(inspection: Inspection) -> None:
    """Check observed data against the distributions that observe them.

    Raises:
        DataError: if data have another shape than a draw would have, or lie outside of the support.
    """
    for name in inspection.observed:
        site = inspection.model.nodes[name]
        value, distribution = site["value"], site["fn"]
        if value.shape != distribution.shape():
            raise DataError(
                f"site {name!r} observes data of shape {tuple(value.shape)}, where a draw of its distribution has "
                f"shape {tuple(distribution.shape())}: one row per datapoint, of event shape "
                f"{tuple(distribution.event_shape)}{to_event_advice(site)}"
            )
        distribution = unwrapped(distribution)
        if not distribution._validate_args:  # switched off, as Pyro's own VAE does to train on grey values
            continue
        try:
            outside = ~distribution.support.check(value)
        except NotImplementedError:
            continue
        if outside.any():
            raise DataError(
                f"the data lie in [{float(value.min()):g}, {float(value.max()):g}], outside of the support of site "
                f"{name!r}, which is {type(distribution).__name__} with {support_in_words(distribution)}; "
                + (_RESCALE if _counts(outside, site) else _PADDING)
            )


def _counts(outside: Tensor, site: Mapping) -> bool:
    """Whether some of the elements, or events, that lie outside of a support are not masked."""
    elements = counted(site)
    if elements is None:
        return bool(outside.any())
    events = elements.flatten(outside.dim()).all(-1) if elements.dim() > outside.dim() else elements
    return bool((outside & events).any())


def check_measures(inspection: Inspection) -> None:
    """Refuse latents whose densities in guide and model cannot be compared, as their values are of different kinds.

    A Delta stands for a point of either kind.

    Raises:
        PairError: naming the site, where one program has a density and the other probabilities, or where the guide
            draws what the model cannot.
    """
    guide, model = stochastic_sites(inspection.guide), stochastic_sites(inspection.model)
    for name in (n for n in inspection.latents if n in guide):
        q, p, value = unwrapped(guide[name]["fn"]), unwrapped(model[name]["fn"]), model[name]["value"]
        if isinstance(p, Delta):
            continue
        kinds = ["probabilities" if is_discrete(fn) else "a density" for fn in (q, p)]
        ours, theirs = type(q).__name__, type(p).__name__
        if kinds[0] != kinds[1] and not isinstance(q, Delta) and has_support(q) and has_support(p):
            raise PairError(
                f"site {name!r} has {kinds[0]} in the guide ({ours}) and {kinds[1]} in the model ({theirs}), whose "
                "ratio means nothing: relax both, as by RelaxedOneHotCategorical or RelaxedBernoulli, or have a "
                'discrete site in both and sum it out by infer={"enumerate": "parallel"} and TraceEnum_ELBO'
            )
        outside = _outside(p, value)
        if outside is not None and _counts(outside, model[name]):
            instead = (
                f"by {theirs}"
                if is_discrete(p)
                else "as by LogNormal for positive numbers, or by dist.TransformedDistribution(…, biject_to(support))"
            )
            raise PairError(
                f"the guide ({ours}) draws {name!r} {in_words(value)}, outside of "
                f"the support of the model's {theirs}, which is {support_in_words(p)}: draw it there, {instead}"
            )


def _outside(distribution: Distribution, value: Tensor) -> Tensor | None:
    """The values that lie outside of the support, if it is known; points of a simplex may miss it by rounding."""
    if not has_support(distribution) or (value.is_floating_point() and value.isnan().any()):  # which says more later
        return None
    if distribution.support is constraints.simplex:
        return (value < 0).any(-1) | ((value.sum(-1) - 1).abs() > 1e-4)
    try:
        return ~distribution.support.check(value)
    except (NotImplementedError, RuntimeError):
        return None


def validated_sites(inspection: Inspection) -> frozenset[str]:
    """The observed sites whose values are compared with a support; a distribution may have that switched off."""
    sites = {name: unwrapped(inspection.model.nodes[name]["fn"]) for name in inspection.observed}
    return frozenset(n for n, fn in sites.items() if fn._validate_args and has_support(fn))


def check_shapes(inspection: Inspection) -> None:
    """Refuse sites whose batch dimensions no plate declares: their density would be summed in the wrong way.

    Raises:
        PairError: naming the site.
    """
    with torch.no_grad():
        for trace in (inspection.guide, inspection.model):
            with errors_as(PairError, "a density cannot be computed"):
                trace.compute_log_prob()
            for name, site in stochastic_sites(trace).items():
                try:
                    check_site_shape(site, max_plate_nesting=float("inf"))
                except ValueError as error:
                    advice, message = to_event_advice(site), first_lines(error)
                    message = message.split("\n  Try")[0] if advice else message  # Pyro's own advice is longer
                    raise PairError(f"site {name!r}: {message}{advice}") from error
