"""The objective that fits a pair when none is asked for."""

import copy
import math

import pyro.distributions as dist
from pyro.infer import ELBO, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from torch.distributions.kl import kl_divergence

from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import stochastic_sites, unwrapped

__all__ = ["default_objective", "has_analytic_kl", "with_plate_nesting"]

_LIBRARIES = ("torch.distributions", "pyro.distributions", "pyvae.distributions")


def default_objective(inspection: Inspection) -> ELBO:
    """The default objective: ``TraceMeanField_ELBO`` where every KL(q ‖ p) has a closed form, else ``Trace_ELBO``.

    ``TraceEnum_ELBO`` if the guide asks for a site to be enumerated.

    The closed form must also be the right one: each latent site reparametrized, of a class of Pyro or torch, under the
    same scale and mask in both programs; and guide and model sampling them in the same order, so that both condition a
    site on the same others.
    """
    guide = {n: s for n, s in stochastic_sites(inspection.guide).items() if not s["is_observed"]}
    if any(site["infer"].get("enumerate") for site in guide.values()):
        return TraceEnum_ELBO(max_plate_nesting=inspection.max_plate_nesting)
    if tuple(guide) != inspection.latents:
        return Trace_ELBO()
    pairs = [(site, inspection.model.nodes[name]) for name, site in guide.items()]
    return TraceMeanField_ELBO() if all(has_analytic_kl(q, p) for q, p in pairs) else Trace_ELBO()


def has_analytic_kl(q: dict, p: dict) -> bool:
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


def with_plate_nesting(objective: ELBO, inspection: Inspection) -> ELBO:
    """A copy of the objective that knows the pair's plate nesting.

    Otherwise Pyro finds it out at the first step, by a run of the pair that the objective does not know of: buffers
    would be updated twice.
    """
    objective = copy.copy(objective)
    if objective.max_plate_nesting == math.inf:
        particles = objective.vectorize_particles and objective.num_particles > 1
        objective.max_plate_nesting = inspection.max_plate_nesting + particles
    return objective
