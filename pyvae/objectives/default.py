"""The objective that fits a pair when none is asked for."""

import copy
import math

from pyro.contrib.cevae import TraceCausalEffect_ELBO
from pyro.infer import ELBO, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO

from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import guide_extras, guide_observations, stochastic_sites
from pyvae.objectives.divergences import analytic_sites

__all__ = ["default_objective", "with_plate_nesting"]


def default_objective(inspection: Inspection) -> ELBO:
    """The default objective: ``TraceMeanField_ELBO`` where every KL(q ‖ p) has a closed form, else ``Trace_ELBO``.

    ``TraceEnum_ELBO`` if a site is to be enumerated, in the guide or in the model alone; ``TraceCausalEffect_ELBO`` if
    the guide observes, as it adds the log probability of that to the ELBO, where others subtract it or leave it out.

    Which closed forms count is said at :func:`pyvae.objectives.divergences.analytic_sites`.
    """
    guide = {n: s for n, s in stochastic_sites(inspection.guide).items() if not s["is_observed"]}
    if inspection.summed_out or any(site["infer"].get("enumerate") for site in guide.values()):
        return TraceEnum_ELBO(max_plate_nesting=inspection.max_plate_nesting)
    if guide_observations(inspection.guide):
        return TraceCausalEffect_ELBO()
    factors = [inspection.guide.nodes[name] for name in inspection.guide_terms]
    if any(not site["fn"].has_rsample for site in factors) or guide_extras(inspection.guide, inspection.model):
        return Trace_ELBO()
    analytic = analytic_sites(guide, stochastic_sites(inspection.model))
    return TraceMeanField_ELBO() if set(guide) == set(inspection.latents) == analytic else Trace_ELBO()


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
