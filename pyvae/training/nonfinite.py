"""Finding where a NaN or an infinity first appears."""

from contextlib import suppress

import pyro
import torch
from torch import Tensor, nn

from pyvae.batching.batches import Batch
from pyvae.core.random_streams import isolated_rng
from pyvae.core.tensors import numbers_of
from pyvae.errors import RUN_ERRORS
from pyvae.inspection.inspection import trace_programs
from pyvae.inspection.sites import stochastic_sites

__all__ = ["first_nonfinite", "first_nonfinite_buffer", "first_nonfinite_parameter"]


def first_nonfinite(pair: nn.Module, batch: Batch) -> str | None:
    """Say what is not finite first: an input, a parameter, a site of the guide or the model, or a gradient.

    Returns:
        A description such as "the gradient of parameter 'posterior.network.layers.0.weight'", or None.
    """
    for index, tensor in enumerate(batch):
        if _bad(tensor):
            return f"input {index} of the batch"
    culprit = first_nonfinite_parameter(pair) or _first_site(pair, batch)
    if culprit is not None:
        return culprit
    for name, parameter in pair.named_parameters():
        if parameter.grad is not None and _bad(parameter.grad):
            return f"the gradient of parameter {name!r}"
    return None


def first_nonfinite_parameter(pair: nn.Module) -> str | None:
    """The first parameter that is not finite, or None."""
    return next((f"parameter {n!r}" for n, p in pair.named_parameters() if _bad(p)), None)


def first_nonfinite_buffer(pair: nn.Module) -> str | None:
    """The first buffer that is not finite, or None; −∞ is welcome, as in a mask of attention."""
    floats = ((n, numbers_of(b)) for n, b in pair.named_buffers() if b.is_floating_point())
    return next((f"buffer {n!r}" for n, b in floats if b.isnan().any() or b.isposinf().any()), None)


def _bad(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not bool(numbers_of(tensor).isfinite().all())


def _first_site(pair: nn.Module, batch: Batch) -> str | None:
    """Run the pair again, on fresh samples and with validation off, and look at its sites in order.

    A program that fails altogether says nothing about them.
    """
    with torch.no_grad(), pyro.validation_enabled(False), isolated_rng(), suppress(*RUN_ERRORS):
        for program, trace in zip(("guide", "model"), trace_programs(pair, batch), strict=True):
            for name, site in stochastic_sites(trace).items():
                if isinstance(site["value"], Tensor) and _bad(site["value"]):
                    return f"the value of site {name!r} of the {program}"
                if _bad(site["fn"].log_prob(site["value"])):
                    return f"the log density of site {name!r} of the {program}"
    return None
