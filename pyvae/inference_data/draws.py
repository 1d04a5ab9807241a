"""Samples of all sites of any pair, repeated for each datapoint: from the guide, from the prior, and of new data."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from pyvae.core.rows import copies
from pyvae.evaluation.particles import repeated_run
from pyvae.inspection.densities import LogTerms, density
from pyvae.inspection.elements import counted, marked
from pyvae.inspection.generation import Unobserved
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import is_discrete, site_rows, stochastic_sites

__all__ = ["Drawer", "GuideDraws"]


@dataclass(frozen=True)
class GuideDraws:
    """S samples for each of N datapoints.

    Attributes:
        latents: of q(z | x), (S, N, …) by site.
        observed: the data as the model observes them, (N, …) by site.
        new: samples of p(x | z), (S, N, …) by observed site; empty if not asked for.
        terms: of log p(x, z) − log q(z | x).
        log_joint: log p(x, z), (S, N) float64.
        log_conditional: log p(x | z), (S, N) float64 by observed site.
    """

    latents: dict[str, Tensor]
    observed: dict[str, Tensor]
    new: dict[str, Tensor]
    terms: LogTerms
    log_joint: Tensor
    log_conditional: dict[str, Tensor]


class Drawer:
    """A runner of a pair's programs on copies of the data, one copy for each sample.

    Args:
        inspection: of the pair, which is in evaluation mode.
        sites: the latents that are kept.
    """

    def __init__(self, inspection: Inspection, sites: Collection[str]) -> None:
        self._pair, self._plate, self._sites = inspection.pair, inspection.plate, sites
        self.columns = inspection.columns
        self._observed = inspection.observed
        nodes = inspection.model.nodes
        self._integers = {name for name in sites if is_discrete(nodes[name]["fn"])}

    def from_guide(self, args: Sequence[Tensor], count: int, new: bool) -> GuideDraws:
        """``count`` draws of q(z | x) for these data, with their densities; and of p(x | z), if ``new``."""
        terms, model = repeated_run(self._pair, args, count, self._plate[1], self.columns)
        size, sites = len(args[0]), stochastic_sites(model)
        densities = {name: density(site, (self._plate[1],)) for name, site in sites.items()}
        densities = {n: d.reshape(count, size) if d.numel() == count * size else d.sum() for n, d in densities.items()}
        drawn: dict[str, Tensor] = {}
        if new:
            latents = {n: s["value"] for n, s in sites.items() if not s["is_observed"]}
            free = Unobserved()(self._pair.model)
            trace = poutine.trace(poutine.condition(free, data=latents)).get_trace(*copies(args, count, self.columns))
            drawn = self._rows(trace, self._observed, count)
        return GuideDraws(
            self._rows(model, self._sites, count),
            {name: rows[0] for name, rows in self._rows(model, self._observed, count).items()},
            drawn,
            terms,
            sum(densities.values()).expand(count, size),
            {name: densities[name] for name in self._observed},
        )

    def from_prior(self, args: Sequence[Tensor], count: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``count`` draws of p(z) and p(x | z) for each of these data, which only their contexts enter."""
        trace = poutine.trace(Unobserved()(self._pair.model)).get_trace(*copies(args, count, self.columns))
        return self._rows(trace, self._sites, count), self._rows(trace, self._observed, count)

    def _rows(self, trace: Trace, names: Collection[str], count: int) -> dict[str, Tensor]:
        """The values of these sites, (S, N, …), with NaN for elements that do not count."""
        found = {}
        for name in names:
            site = trace.nodes[name]
            value = site_rows(name, {**site, "value": marked(site["value"], site)}, self._plate[1])[0]
            whole = name in self._integers and counted(site) is None
            found[name] = (value.long() if whole else value).unflatten(0, (count, -1))
        return found
