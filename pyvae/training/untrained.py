"""Parameters that have a part in the densities, and are not trained."""

import warnings

import torch

from pyvae.batching.batches import Batch
from pyvae.inspection.inspection import Inspection, trace_programs
from pyvae.inspection.perturbation import perturbed
from pyvae.inspection.row_runs import Sites, conditioned_run, program_sites

__all__ = ["warn_of_untrained"]


def warn_of_untrained(inspection: Inspection, batch: Batch) -> None:
    """Warn of parameters that have received no gradient in a step on this batch, though the densities depend on them.

    A program under ``torch.no_grad`` has such, or one that detaches too much; so may have one that means to.
    """
    without = {n: p for n, p in inspection.pair.named_parameters() if p.requires_grad and p.grad is None}
    if not without:
        return
    with inspection.at_rest(seed=0):
        drawn = program_sites(trace_programs(inspection.pair, batch))
        latents = {name: site["value"] for (_, name), site in drawn.items() if not site["is_observed"]}
        before = _densities(conditioned_run(inspection.pair, batch, latents))
        names = []
        for name, parameter in without.items():
            with perturbed([parameter], seed=0):
                after = _densities(conditioned_run(inspection.pair, batch, latents))
            if not torch.equal(before, after):
                names.append(name)
    if names:
        warnings.warn(
            f"the densities of {type(inspection.pair).__name__} depend on the parameters {names}, which receive no "
            "gradient and are not trained: take away the torch.no_grad() or detach() in its programs, or, if this is "
            "meant, freeze them with requires_grad_(False)",
            stacklevel=6,
        )


def _densities(sites: Sites) -> torch.Tensor:
    return torch.stack([site["fn"].log_prob(site["value"]).sum().double() for site in sites.values()])
