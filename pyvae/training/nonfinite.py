"""Finding where a NaN or an infinity first appears."""

from contextlib import suppress

import pyro
import torch
from torch import Tensor, nn

from pyvae.batching.batches import Batch
from pyvae.core.random_streams import isolated_rng
from pyvae.core.tensors import numbers_of
from pyvae.errors import RUN_ERRORS
from pyvae.inspection.inspection import takes_missing, trace_programs
from pyvae.inspection.nonfinite import Culprit, first_nonfinite_site

__all__ = ["advice_on", "first_nonfinite", "first_nonfinite_buffer", "first_nonfinite_parameter"]

_LARGE = 30.0  # from which on inputs make networks' outputs large; standardized data stay below


def first_nonfinite(pair: nn.Module, batch: Batch, plate: str | None) -> Culprit | None:
    """Say what is not finite first: an input, a parameter, a site of the guide or the model, or a gradient.

    Args:
        pair: the pair.
        batch: the arguments of both programs.
        plate: the name of the plate over the data.

    Returns:
        A description, such as of "the gradient of parameter 'posterior.network.layers.0.weight'", or None.
    """
    missing = takes_missing(pair)
    for index, tensor in enumerate(batch):
        if _bad(tensor) and not (missing and bool((tensor.isfinite() | tensor.isnan()).all())):
            return Culprit(f"input {index} of the batch")
    where = first_nonfinite_parameter(pair)
    if where or (culprit := _first_site(pair, batch, plate)):
        return Culprit(where) if where else culprit
    for name, parameter in pair.named_parameters():
        if parameter.grad is not None and _bad(parameter.grad):
            return Culprit(f"the gradient of parameter {name!r}")
    return None


def advice_on(batch: Batch, clip_norm: float | None) -> str:
    """What may help, as a sentence without a full stop: the arguments of :func:`pyvae.fit` and of recipes by name.

    Args:
        batch: the one on which numbers were not finite.
        clip_norm: that of the training.
    """
    clip = "clip_norm=10" if clip_norm is None else f"clip_norm={clip_norm / 10:g}"
    advice = f"Try {clip}, a smaller learning rate, or a likelihood whose density is bounded"
    largest = max((float(numbers_of(t).abs().nan_to_num().max()) for t in batch if _has_numbers(t)), default=0.0)
    if largest < _LARGE:
        return advice
    return f"{advice}; or smaller inputs, which reach {largest:.0f}: standardize them or, of counts, log_input=True"


def first_nonfinite_parameter(pair: nn.Module) -> str | None:
    """The first parameter that is not finite, or None."""
    return next((f"parameter {n!r}" for n, p in pair.named_parameters() if _bad(p)), None)


def first_nonfinite_buffer(pair: nn.Module) -> str | None:
    """The first buffer that is not finite, or None; −∞ is welcome, as in a mask of attention."""
    floats = ((n, numbers_of(b)) for n, b in pair.named_buffers() if b.is_floating_point())
    return next((f"buffer {n!r}" for n, b in floats if b.isnan().any() or b.isposinf().any()), None)


def _has_numbers(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.numel() > 0


def _bad(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and not bool(numbers_of(tensor).isfinite().all())


def _first_site(pair: nn.Module, batch: Batch, plate: str | None) -> Culprit | None:
    """Run the pair again, on fresh samples and with validation off, and look at its sites in order.

    A program that fails altogether says nothing about them.
    """
    with torch.no_grad(), pyro.validation_enabled(False), isolated_rng(), suppress(*RUN_ERRORS):
        return first_nonfinite_site(*trace_programs(pair, batch), plate, len(batch[0]))
    return None
