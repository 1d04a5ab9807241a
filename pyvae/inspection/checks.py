"""Checks of a pair's data and shapes against its distributions."""

from collections.abc import Mapping

import torch
from pyro.util import check_site_shape
from torch import Tensor

from pyvae.errors import DataError, PairError, first_lines
from pyvae.inspection.elements import counted
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import has_support, stochastic_sites, unwrapped

__all__ = ["check_data", "check_shapes", "validated_sites"]

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
                f"{tuple(distribution.event_shape)}"
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
                f"{name!r}, which is {type(distribution).__name__} with {distribution.support}; "
                + (_RESCALE if _counts(outside, site) else _PADDING)
            )


def _counts(outside: Tensor, site: Mapping) -> bool:
    """Whether some of the elements, or events, that lie outside of a support are not masked."""
    elements = counted(site)
    if elements is None:
        return True
    events = elements.flatten(outside.dim()).all(-1) if elements.dim() > outside.dim() else elements
    return bool((outside & events).any())


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
            trace.compute_log_prob()
            for name, site in stochastic_sites(trace).items():
                try:
                    check_site_shape(site, max_plate_nesting=float("inf"))
                except ValueError as error:
                    raise PairError(f"site {name!r}: {first_lines(error)}") from error
