"""Densities of the sites of a program, one per datapoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor

from pyvae.inspection.sites import guide_terms, stochastic_sites, summed_but, without_events

__all__ = ["LogTerms", "density", "log_density", "log_terms"]


@dataclass(frozen=True)
class LogTerms:
    """The parts of a log weight, (S, N) float64 each.

    Attributes:
        reconstruction: log p(x | z), over all observed sites and factors of the model.
        latents: log p(z_i | …) − log q(z_i | …) of each latent site, by name; and of the guide alone
            minus each factor, as Pyro's objectives count it, and minus the log density of each auxiliary latent.
    """

    reconstruction: Tensor
    latents: dict[str, Tensor]

    @cached_property
    def log_weight(self) -> Tensor:
        """The log weights log p(x, z) − log q(z | x), (S, N)."""
        return self.reconstruction + sum(self.latents.values())


def density(site: dict, dims: Sequence[int]) -> Tensor:
    """The log density of a site, unscaled, summed in float64 over all batch dimensions but ``dims``."""
    return summed_but(log_density(site), dims)


def log_density(site: dict) -> Tensor:
    """The log density of a site, unscaled, for each element of its batch, in float64.

    Independent event dimensions are summed here, not in the distribution: a float32 sum over the pixels of an image
    loses the digits in which the importance weights of a good guide differ.
    """
    fn, events = without_events(site["fn"])
    log_prob = fn.log_prob(site["value"])
    if events:
        log_prob = _summed(log_prob.flatten(-events))
    return scale_and_mask(log_prob.double(), mask=site["mask"])


def _summed(log_prob: Tensor) -> Tensor:
    """The sum over the last dimension in float64: of sums of eight, as to convert all numbers takes long."""
    eights = log_prob.shape[-1] // 8 * 8
    parts = log_prob[..., :eights].unflatten(-1, (-1, 8)).sum(-1)
    return parts.sum(-1, dtype=torch.float64) + log_prob[..., eights:].sum(-1, dtype=torch.float64)


def log_terms(guide: Trace, model: Trace, dims: Sequence[int]) -> LogTerms:
    """Sum the sites of both traces; the kept ``dims`` are those of particles and data, in this order."""
    reconstruction, latents = 0.0, {}
    for name, site in stochastic_sites(model).items():
        if site["is_observed"]:
            reconstruction = reconstruction + density(site, dims)
        else:
            latents[name] = density(site, dims)
    for name in [*latents, *guide_terms(guide, model)]:
        latents[name] = latents.get(name, 0.0) - density(guide.nodes[name], dims)
    return LogTerms(reconstruction, latents)
