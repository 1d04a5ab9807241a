"""Samples, reconstructions and latents of a pair, by Pyro's own handlers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine import Trace
from torch import Tensor, nn

from pyvae.core.modules import evaluation_mode, isolated_param_store
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import RUN_ERRORS, PairError, PyvaeError, first_lines
from pyvae.inspection.inspection import Inspection, inspect_pair
from pyvae.inspection.sites import unwrapped
from pyvae.latent_space.posterior_means import centres

__all__ = [
    "class_labels",
    "decode",
    "determining_means",
    "generate",
    "inspect_trained",
    "latent_means",
    "reconstruct",
    "shown",
]


def generate(pair: nn.Module, size: int, labels: Tensor | None = None, seed: int = 0, mean: bool = True) -> Tensor:
    """Samples x ~ p(x) or p(x | y), or the means E[x | z] for z ~ p(z), which look smoother.

    Args:
        pair: a pair whose model takes ``x=None``, ``y`` and ``size``.
        size: the number of samples.
        labels: y, one per sample, of a conditional pair.
        seed: of the samples.
        mean: whether to give the mean of p(x | z) instead of a sample.
    """
    with evaluation_mode(pair), isolated_param_store(), isolated_rng(seed):
        trace = poutine.trace(pair.model).get_trace(None, labels, size=size)
    return shown(trace, mean)


def latent_means(pair: nn.Module, args: Sequence[Tensor]) -> dict[str, Tensor]:
    """The means E[z | x] under q, or for codes the most likely, by the name of the latent site."""
    return centres(inspect_trained(pair, args))


def reconstruct(pair: nn.Module, args: Sequence[Tensor], labels: Tensor | None = None) -> Tensor:
    """The reconstructions E[x | z] at the mean z of q(z | x, y), decoded with y or with other labels.

    Decoding with another label keeps what z knows of x, its style, and changes the class.

    Args:
        pair: a pair whose model takes ``x=None``, ``y`` and ``size``.
        args: x, or x and y.
        labels: what to decode with instead of y.
    """
    inspection = inspect_trained(pair, args)
    labels = labels if labels is not None else (args[1] if len(args) > 1 else None)
    return shown(decode(pair, determining_means(inspection), labels, len(args[0]), inspection.stray), mean=True)


def inspect_trained(pair: nn.Module, args: Sequence[Tensor]) -> Inspection:
    """The inspection of a pair, run with what Pyro's param store holds of its parameters.

    As :func:`pyvae.inspection.inspect_pair`.
    """
    inspection = inspect_pair(pair, args)
    if not inspection.stray:
        return inspection
    with (
        evaluation_mode(pair),
        isolated_param_store(inspection.stray),
        isolated_rng(),
    ):  # the first run had none of them
        guide = poutine.trace(pair.guide).get_trace(*args)
        model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(*args)
    return replace(inspection, guide=guide, model=model)


def determining_means(inspection: Inspection) -> dict[str, Tensor]:
    """The :func:`latent_means` of the latents that determine x, without those that the model computes from others.

    Those left out are, for example, the vectors of codes, which the model computes from the codes.
    """
    computed = {n for n in inspection.latents if isinstance(unwrapped(inspection.model.nodes[n]["fn"]), Delta)}
    return {name: mean for name, mean in centres(inspection).items() if name not in computed}


def decode(
    pair: nn.Module, latents: Mapping[str, Tensor], labels: Tensor | None, size: int, stray: Sequence[str] = ()
) -> Trace:
    """The model run on these latents, without data; ``stray`` names its parameters in Pyro's param store alone.

    Raises:
        PairError: if it cannot be.
    """
    with evaluation_mode(pair), isolated_param_store(stray), isolated_rng(0):
        try:
            return poutine.trace(poutine.condition(pair.model, data=latents)).get_trace(None, labels, size=size)
        except RUN_ERRORS as error:
            if isinstance(error, PyvaeError):
                raise
            raise PairError(
                f"{type(pair).__name__}.model failed without x, on {'no' if labels is None else 'some'} labels and "
                f"size={size}: {first_lines(error)}; expected a model that takes x=None, y and size"
            ) from error


def shown(trace: Trace, mean: bool) -> Tensor:
    """The x of a run of a model: the sample, or the mean of its distribution."""
    site = trace.nodes["x" if "x" in trace.nodes else "x_0"]
    return site["fn"].mean if mean else site["value"]


def class_labels(num_classes: int, per_class: int, device: torch.device) -> Tensor:
    """Labels 0, 0, …, 1, 1, …: ``per_class`` of each class."""
    return torch.arange(num_classes, device=device).repeat_interleave(per_class)
