"""What a pair shows: draws, reconstructions and latents, by Pyro's own handlers."""

from collections.abc import Sequence

import torch
from pyro import poutine
from pyro.distributions import Delta, Distribution
from pyro.poutine import Trace
from torch import Tensor, nn

from pyvae.inspection import Inspection, has_support, inspect_pair, unwrapped
from pyvae.isolation import evaluation_mode, own_parameters, preserved_streams

__all__ = ["class_labels", "generate", "latent_means", "reconstruct"]


def generate(pair: nn.Module, size: int, labels: Tensor | None = None, seed: int = 0, mean: bool = True) -> Tensor:
    """x ~ p(x) or p(x | y), or E[x | z] for z ~ p(z), which makes the quieter picture.

    Args:
        pair: a pair whose model takes ``x=None``, ``y`` and ``size``.
        size: the number of draws.
        labels: y, one per draw, of a conditional pair.
        seed: of the draws.
        mean: whether to give the mean of p(x | z) instead of a draw of it.
    """
    with evaluation_mode(pair), own_parameters(), preserved_streams(seed):
        trace = poutine.trace(pair.model).get_trace(None, labels, size=size)
    return _shown(trace, mean)


def latent_means(pair: nn.Module, args: Sequence[Tensor]) -> dict[str, Tensor]:
    """E[z | x] under q, or of codes the most likely, by the name of the latent site."""
    return _centres(inspect_pair(pair, args))


def _centres(inspection: Inspection) -> dict[str, Tensor]:
    return {name: _centre(inspection.guide.nodes[name]["fn"]) for name in inspection.latents}


def _centre(q: Distribution) -> Tensor:
    return q.mode if has_support(q) and q.support.is_discrete else q.mean


def reconstruct(pair: nn.Module, args: Sequence[Tensor], labels: Tensor | None = None) -> Tensor:
    """E[x | z] at the mean z of q(z | x, y), decoded with y or with other labels.

    Decoding with another label keeps what z knows of x, its style, and changes the class.

    Args:
        pair: a pair whose model takes ``x=None``, ``y`` and ``size``.
        args: x, or x and y.
        labels: what to decode with instead of y.
    """
    inspection = inspect_pair(pair, args)
    # what the model itself computes of other latents, such as the vectors of codes, it shall compute of these
    computed = {n for n in inspection.latents if isinstance(unwrapped(inspection.model.nodes[n]["fn"]), Delta)}
    means = {name: mean for name, mean in _centres(inspection).items() if name not in computed}
    labels = labels if labels is not None else (args[1] if len(args) > 1 else None)
    with evaluation_mode(pair), own_parameters(), preserved_streams(0):
        model = poutine.condition(pair.model, data=means)
        trace = poutine.trace(model).get_trace(None, labels, size=len(args[0]))
    return _shown(trace, mean=True)


def _shown(trace: Trace, mean: bool) -> Tensor:
    site = trace.nodes["x" if "x" in trace.nodes else "x_0"]
    return site["fn"].mean if mean else site["value"]


def class_labels(num_classes: int, per_class: int, device: torch.device) -> Tensor:
    """Labels 0, 0, …, 1, 1, …: ``per_class`` of each class."""
    return torch.arange(num_classes, device=device).repeat_interleave(per_class)
