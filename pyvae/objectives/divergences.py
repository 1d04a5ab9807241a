"""The KL of a latent site, in closed form or from its sample."""

from collections.abc import Mapping

import pyro.distributions as dist
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions.kl import kl_divergence

from pyvae.inspection.sites import unwrapped

__all__ = ["analytic_sites", "site_kl"]

_LIBRARIES = ("torch.distributions", "pyro.distributions", "pyvae.distributions")


def analytic_sites(guide: Mapping[str, dict], model: Mapping[str, dict]) -> frozenset[str]:
    """The names of the latents whose KL has a closed form that is the right one.

    Each must be reparametrized, of a class of Pyro or torch, and under the same scale and mask in both programs; and
    guide and model must sample the latents in the same order, so that both condition a site on the same others.

    Args:
        guide: the sites of the guide that have a density, in order.
        model: those of the model.
    """
    latents = [name for name, site in model.items() if not site["is_observed"]]
    if [name for name, site in guide.items() if not site["is_observed"] and name in model] != latents:
        return frozenset()
    return frozenset(name for name in latents if _has_analytic_kl(guide[name], model[name]))


def _has_analytic_kl(q: dict, p: dict) -> bool:
    """Whether the registered KL(q ‖ p) of two sites is E_q[log q − log p], under the same scale and mask."""
    try:
        kl_divergence(q["fn"], p["fn"])
    except NotImplementedError:
        return False
    alike = q["scale"] is p["scale"] or (isinstance(q["scale"], float) and q["scale"] == p["scale"])
    # a subclass inherits the KL of its base, and a Delta has one that leaves its own density out
    ours = all(type(d).__module__.startswith(_LIBRARIES) for d in (unwrapped(q["fn"]), unwrapped(p["fn"])))
    point = isinstance(unwrapped(q["fn"]), dist.Delta)
    return q["fn"].has_rsample and alike and q["mask"] is p["mask"] and ours and not point


def site_kl(q: Mapping, p: Mapping, analytic: bool) -> Tensor:
    """The KL of a latent site, for each element of the batch, scaled and masked as its site.

    In closed form, KL(q ‖ p), or from the sample, log q(z) − log p(z).

    Args:
        q: the site of the guide.
        p: that of the model, with the same value.
        analytic: whether in closed form.
    """
    if analytic:
        return scale_and_mask(kl_divergence(q["fn"], p["fn"]), q["scale"], q["mask"])
    return _log_density(q) - _log_density(p)


def _log_density(site: Mapping) -> Tensor:
    if "log_prob" in site:  # of a trace whose densities have been computed
        return site["log_prob"]
    return scale_and_mask(site["fn"].log_prob(site["value"]), site["scale"], site["mask"])
