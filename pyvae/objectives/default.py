"""The objective that fits a pair when none is asked for."""

from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from torch.distributions.kl import kl_divergence

from pyvae.inspection import Inspection, stochastic_sites

__all__ = ["default_objective"]


def default_objective(inspection: Inspection) -> ELBO:
    """``TraceMeanField_ELBO`` where every KL(q ‖ p) has a closed form, else ``Trace_ELBO``.

    The closed form must also be the right one: each latent site reparametrized, and guide and model sampling them in
    the same order, so that both condition a site on the same others.
    """
    guide = {n: s for n, s in stochastic_sites(inspection.guide).items() if not s["is_observed"]}
    if tuple(guide) != inspection.latents or not all(s["fn"].has_rsample for s in guide.values()):
        return Trace_ELBO()
    try:
        for name, site in guide.items():
            kl_divergence(site["fn"], inspection.model.nodes[name]["fn"])
    except NotImplementedError:
        return Trace_ELBO()
    return TraceMeanField_ELBO()
