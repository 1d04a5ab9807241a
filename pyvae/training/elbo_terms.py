"""The terms of the ELBO, gathered as an objective runs a pair."""

from collections.abc import Collection, Sequence

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO, Trace_ELBO, TraceGraph_ELBO, TraceTailAdaptive_ELBO
from pyro.poutine.messenger import Messenger

from pyvae.inspection.inspection import Inspection
from pyvae.inspection.plates import plate_factor
from pyvae.inspection.sites import has_density, is_factor
from pyvae.objectives.divergences import site_kl
from pyvae.objectives.per_datapoint import PerDatapointELBO
from pyvae.objectives.weighted import WeightedELBO

__all__ = ["ELBOTerms", "estimates_elbo", "weighs_terms"]


def estimates_elbo(objective: ELBO) -> bool:
    """Whether the terms of the ELBO can be read off the runs that an objective makes, whatever its loss is.

    An enumerated model's cannot be read off one run of it; Pyro's other bounds do as they like with the programs.
    """
    family = isinstance(objective, Trace_ELBO | TraceGraph_ELBO | PerDatapointELBO)
    return family and not isinstance(objective, TraceTailAdaptive_ELBO)


def weighs_terms(objective: ELBO) -> bool:
    """Whether an objective's loss consists of the terms of the ELBO with weights that the epoch determines."""
    return isinstance(objective, WeightedELBO)


class ELBOTerms(Messenger):
    """Sums the terms of the ELBO while an objective runs model and guide, any number of times.

    The densities are the programs' own: without weights by ``poutine.scale``, and without factors that the programs
    have in training alone; but with the factors by which plates make a mini-batch stand for all data. To be put around
    the model; :attr:`guide` goes around the guide.

    Args:
        inspection: of the pair, in evaluation mode.
        analytic: the latents whose KL is the closed form, as in the objective; of others it is that of the sample.
        checked: the sites whose values are compared with the support of their distribution.
        terms: whether the terms are wanted; else there are none.

    Attributes:
        full_size: the size of the plate over the data, to which it scales the loss of a batch; None before a run.
        inside: whether all values of the checked sites lay in the support, as a tensor; None without such sites.
    """

    def __init__(
        self, inspection: Inspection, analytic: Collection[str] = (), checked: Collection[str] = (), terms: bool = True
    ) -> None:
        super().__init__()
        self._analytic = analytic
        self._plate = inspection.data_plate
        self._checked = checked
        self._terms = terms
        self._factors = inspection.factors
        self.guide = _GuideSites(inspection.latents, inspection.guide_terms)
        self.inside: torch.Tensor | None = None
        self.full_size: int | None = None
        self._runs = 0
        self._reconstruction: torch.Tensor | float = 0.0
        self._kl: dict[str, torch.Tensor | float] = dict.fromkeys(inspection.latents, 0.0)

    def means(self) -> list[torch.Tensor | float]:
        """Of the sums over the batch, as plates scale them, the means over runs: reconstruction, then KL by site."""
        if not self._terms:
            return []
        sums = [self._reconstruction, *self._kl.values(), *self.guide.alone.values()]
        return [total / self._runs if self._runs else float("nan") for total in sums]

    def __enter__(self) -> "ELBOTerms":
        self._runs += 1
        return super().__enter__()

    def _pyro_post_sample(self, msg: dict) -> None:
        if not has_density(msg):
            return
        name, observed = msg["name"], msg["is_observed"]
        if observed:
            for frame in msg["cond_indep_stack"]:
                if frame.name == self._plate and frame.size > 0:
                    self.full_size = frame.full_size
        if name in self._checked:
            inside = msg["fn"].support.check(msg["value"]).all()
            self.inside = inside if self.inside is None else self.inside & inside
        if not self._terms:
            return
        if name in self._kl:
            with torch.no_grad():
                kl = site_kl(self.guide.found[name], _unweighted(msg), name in self._analytic)
            self._kl[name] += kl.sum()
        elif observed and (name in self._factors or not is_factor(msg)):
            self._reconstruction = self._reconstruction + _summed(msg)


class _GuideSites(Messenger):
    """Keeps the latents of a guide's last run, and adds up the log densities that the guide has alone."""

    def __init__(self, latents: Sequence[str], alone: Sequence[str]) -> None:
        super().__init__()
        self._latents = frozenset(latents)
        self.found: dict[str, dict] = {}
        self.alone: dict[str, torch.Tensor | float] = dict.fromkeys(alone, 0.0)

    def _pyro_post_sample(self, msg: dict) -> None:
        if msg["name"] in self._latents:
            self.found[msg["name"]] = _unweighted(msg)
        if msg["name"] in self.alone:
            self.alone[msg["name"]] += _summed(msg)


def _unweighted(site: dict) -> dict:
    """What the density of a site takes, with the scale of plates alone."""
    return {**{name: site[name] for name in ("fn", "value", "mask")}, "scale": plate_factor(site)}


@torch.no_grad()
def _summed(site: dict) -> torch.Tensor:
    """The log density of a site, without weights, summed over the batch."""
    return scale_and_mask(site["fn"].log_prob(site["value"]), plate_factor(site), site["mask"]).sum()
