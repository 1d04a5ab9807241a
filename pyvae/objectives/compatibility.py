"""The compatibility of Pyro's objectives with pairs, where Pyro would give wrong numbers silently."""

import warnings

import torch
from pyro.contrib.cevae import TraceCausalEffect_ELBO
from pyro.infer import ELBO, RenyiELBO, ReweightedWakeSleep, TraceEnum_ELBO, TraceMeanField_ELBO, TraceTailAdaptive_ELBO

from pyvae.errors import PairError
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.plates import plate_factor
from pyvae.inspection.sites import guide_extras, guide_observations, stochastic_sites, unwrapped
from pyvae.objectives.per_datapoint import PerDatapointELBO
from pyvae.objectives.weighted import WeightedELBO

__all__ = ["check_objective"]


def check_objective(objective: ELBO, inspection: Inspection) -> None:
    """Refuse an objective of Pyro whose unchecked assumptions a pair violates.

    ``RenyiELBO`` has no gradient for sites that are not reparametrized, and one weight for the whole batch if a site
    lies outside of the plate over the data, or a plate's factor for mini-batches inside of the logarithm;
    ``ReweightedWakeSleep`` has one weight for the whole batch always. ``TraceMeanField_ELBO`` takes KL(q ‖ p) of a site
    given the others, which is no term of the ELBO if guide and model draw in different orders. Objectives of pyvae
    check sites themselves, before the first step.

    A guide that observes, such as a classifier beside the encoder, is warned of where the objective does not train it
    to make that probable.

    Raises:
        PairError: naming the site, and the objective to use instead.
    """
    guide = {n: s for n, s in stochastic_sites(inspection.guide).items() if not s["is_observed"]}
    if inspection.summed_out and not isinstance(objective, TraceEnum_ELBO):
        raise PairError(
            f"the model sums {list(inspection.summed_out)} out, which {type(objective).__name__} cannot; use "
            "TraceEnum_ELBO(), or let the guide sample them"
        )
    if isinstance(objective, PerDatapointELBO | WeightedELBO):
        for name in set(guide) & set(inspection.latents):
            objective.check_site(name, guide[name], inspection.model.nodes[name])
    if (seen := guide_observations(inspection.guide)) and not isinstance(objective, TraceCausalEffect_ELBO):
        ours = isinstance(objective, PerDatapointELBO | WeightedELBO | TraceMeanField_ELBO)
        effect = "leaves out" if ours else "counts as part of log q, and so trains to be improbable,"
        warnings.warn(
            f"{type(objective).__name__} {effect} the {seen} that the guide observes; to train the guide to make them "
            "probable, use objective=pyro.contrib.cevae.TraceCausalEffect_ELBO()",
            stacklevel=4,
        )
    if type(objective) is RenyiELBO:
        _refuse_unreparametrized(guide, "RenyiELBO", "objectives.VIMCO or objectives.ReweightedWakeSleep")
        _refuse_shared_weights(inspection)
    if type(objective) is ReweightedWakeSleep:
        raise PairError(
            "Pyro's ReweightedWakeSleep gives a batch one weight, where each datapoint has its own; use "
            "objectives.ReweightedWakeSleep"
        )
    if type(objective) is TraceTailAdaptive_ELBO:
        raise PairError(
            "TraceTailAdaptive_ELBO ranks the weights of whole batches, and has no loss; use "
            "objectives.VariationalRenyiBound"
        )
    if type(objective) is TraceMeanField_ELBO:
        alone = {n: inspection.guide.nodes[n] for n in inspection.guide_terms}
        _refuse_unreparametrized(guide | alone, "TraceMeanField_ELBO", "Trace_ELBO or TraceGraph_ELBO")
        if extra := guide_extras(inspection.guide, inspection.model):
            raise PairError(
                f"the guide has the sites {extra}, which the model has not, and for which TraceMeanField_ELBO has no "
                "term; use Trace_ELBO"
            )
        order = [n for n in guide if n in inspection.latents]
        for ours, theirs in zip(order, inspection.latents, strict=False):
            if ours != theirs:
                raise PairError(
                    f"the guide draws {ours!r} where the model draws {theirs!r}: TraceMeanField_ELBO takes the KL of "
                    "each site given those before it, which must be the same in both; use Trace_ELBO"
                )


def _refuse_unreparametrized(guide: dict[str, dict], objective: str, instead: str) -> None:
    for name, site in guide.items():
        if not site["fn"].has_rsample:
            raise PairError(
                f"site {name!r} of the guide is not reparametrized ({type(unwrapped(site['fn'])).__name__}), so that "
                f"{objective} would have no gradient for it; use {instead}"
            )


def _refuse_shared_weights(inspection: Inspection) -> None:
    for trace in (inspection.guide, inspection.model):
        for name, site in stochastic_sites(trace).items():
            frames = [f for f in site["cond_indep_stack"] if f.name == inspection.data_plate]
            if not frames or frames[0].full_size not in (None, frames[0].size):
                raise PairError(
                    f"site {name!r} lies {'outside of' if not frames else 'in a mini-batch of'} the plate over the "
                    "data, of which RenyiELBO would make one weight for the batch, or scale inside of the logarithm; "
                    "use objectives.VariationalRenyiBound, which says what it needs"
                )
            if bool((torch.as_tensor(site["scale"]) != plate_factor(site)).any()):
                raise PairError(
                    f"site {name!r} has a scale of its own (pyro.poutine.scale), which RenyiELBO takes inside of the "
                    "logarithm; scale the loss by the learning rate, or use Trace_ELBO"
                )
