"""Samples, reconstructions and latents of a pair, by Pyro's own handlers."""

from collections.abc import Mapping, Sequence

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine import Trace
from torch import Tensor, nn

from pyvae.core.modules import at_rest
from pyvae.errors import PairError, errors_as
from pyvae.inspection.elements import observes
from pyvae.inspection.inspection import Inspection, inspect_pair
from pyvae.inspection.sites import stochastic_sites, unwrapped
from pyvae.latent_space.posterior_means import centres, mean_of

__all__ = [
    "class_labels",
    "data_site",
    "decode",
    "determining_means",
    "generate",
    "latent_means",
    "reconstruct",
    "shown",
]


def generate(pair: nn.Module, size: int, labels: Tensor | None = None, seed: int = 0, mean: bool = True) -> Tensor:
    """Samples x ~ p(x) or p(x | y), or the means E[x | z] for z ~ p(z), which look smoother.

    x is what the model returns or, of one that returns no site of its own, what it draws last.

    Args:
        pair: a pair whose model takes ``x=None``, ``y`` and ``size``.
        size: the number of samples.
        labels: y, one per sample, of a conditional pair.
        seed: of the samples.
        mean: whether to give the mean of p(x | z) instead of a sample.

    Raises:
        PairError: if the model cannot be run without data.
    """
    trace = decode(pair, {}, labels, size, seed=seed)
    return shown(trace, _returned_site(trace), mean)


def latent_means(pair: nn.Module, args: Sequence[Tensor]) -> dict[str, Tensor]:
    """The means E[z | x] under q, or for codes the most likely, by the name of the latent site."""
    return centres(inspect_pair(pair, args))


def reconstruct(pair: nn.Module, args: Sequence[Tensor], labels: Tensor | None = None) -> Tensor:
    """The reconstructions E[x | z] at the mean z of q(z | x, y), decoded with y or with other labels.

    Decoding with another label keeps what z knows of x, its style, and changes the class.

    Args:
        pair: a pair whose model takes ``x=None``, ``y`` and ``size``.
        args: x, or x and y.
        labels: what to decode with instead of y.
    """
    inspection = inspect_pair(pair, args)
    latents, own = determining_means(inspection), args[1] if len(args) > 1 else None
    if labels is not None and own is not None:
        latents = {name: mean for name, mean in latents.items() if not _is_label(mean, own)}
    trace = decode(pair, latents, own if labels is None else labels, len(args[0]), inspection.stray)
    return shown(trace, data_site(inspection), mean=True)


def _is_label(latent: Tensor, labels: Tensor) -> bool:
    """Whether a latent is the label itself, as where labels may be missing: −1 is one that is not known."""
    if latent.shape != labels.shape or latent.is_floating_point():
        return False
    return bool(((latent == labels) | (labels < 0)).all())


def determining_means(inspection: Inspection) -> dict[str, Tensor]:
    """The :func:`latent_means` of the latents that determine x, without those that the model computes from others.

    Those left out are, for example, the vectors of codes, which the model computes from the codes.
    """
    computed = {n for n in inspection.latents if isinstance(unwrapped(inspection.model.nodes[n]["fn"]), Delta)}
    return {name: mean for name, mean in centres(inspection).items() if name not in computed}


def decode(
    pair: nn.Module,
    latents: Mapping[str, Tensor],
    labels: Tensor | None,
    size: int,
    stray: Sequence[str] = (),
    seed: int = 0,
) -> Trace:
    """The model run on these latents, without data; ``stray`` names its parameters in Pyro's param store alone.

    What is not among the latents is sampled.

    Raises:
        PairError: if it cannot be.
    """
    failed = (
        f"{type(pair).__name__}.model failed without x, on {'no' if labels is None else 'some'} labels and size={size}"
    )
    advice = "; expected a model that takes x=None, y if there are labels, and size"
    given = () if labels is None else (labels,)
    with at_rest(pair, stray, seed), errors_as(PairError, failed, advice):
        return poutine.trace(poutine.condition(pair.model, data=latents)).get_trace(None, *given, size=size)


def data_site(inspection: Inspection) -> str:
    """The observed site that is x: the only one or, of several, the one that observes the first argument as it is.

    Raises:
        PairError: if there is none.
    """
    names, x = inspection.observed, inspection.arguments[0]
    found = names if len(names) == 1 else [n for n in names if observes(inspection.model.nodes[n], x)]
    if len(found) != 1:
        raise PairError(
            f"the model observes {list(names)}; expected one site, or one of them that observes the first argument"
        )
    return found[0]


def _returned_site(trace: Trace) -> str:
    """The site that a model returns, else its last one."""
    sites, value = stochastic_sites(trace), trace.nodes["_RETURN"]["value"]
    returned = [name for name, site in sites.items() if site["value"] is value]
    return (returned or list(sites))[-1]


def shown(trace: Trace, name: str, mean: bool) -> Tensor:
    """A site of a run of a model: what was drawn, or the mean of its distribution.

    Raises:
        PairError: if the run has no such site.
    """
    if name not in trace.nodes:
        raise PairError(f"without data the model draws no {name!r}; expected the sites that it has with data")
    site = trace.nodes[name]
    return mean_of(site["fn"]) if mean else site["value"]


def class_labels(num_classes: int, per_class: int, device: torch.device) -> Tensor:
    """Labels 0, 0, …, 1, 1, …: ``per_class`` of each class."""
    return torch.arange(num_classes, device=device).repeat_interleave(per_class)
