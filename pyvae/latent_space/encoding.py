"""Latents of a trained pair as data for the next one."""

import torch
from pyro import poutine
from torch import Tensor, nn

from pyvae.batching.batches import batches_for
from pyvae.core.modules import evaluation_mode, isolated_param_store
from pyvae.datasets import DataSplits
from pyvae.errors import PairError
from pyvae.inspection.inspection import Inspection, device_of, inspect_pair
from pyvae.latent_space.posterior_means import continuous_sites

__all__ = ["encoded"]


def encoded(data: DataSplits, pair: nn.Module, site: str | None = None) -> DataSplits:
    """Data with a sample z ~ q(z | x) in place of x, drawn anew each time a row is taken; labels stay.

    Rows go to the device where the pair is at that time, and z comes back to that of the data.

    With few labels, a semi-supervised VAE of such z (the model M2, on top of the VAE M1 that gives them) tells the
    classes better apart than one of x. The likelihood is then one of z:
    :class:`pyvae.likelihoods.HeteroscedasticNormal`.

    Args:
        data: data that the pair takes.
        pair: a trained pair whose guide is called with x alone.
        site: its latent site; by default the only one that is continuous.

    Raises:
        PairError: if the pair has no such site, or several and none is named, or its guide fails on these data.

    References:
        Kingma, Rezende, Mohamed and Welling, *Semi-supervised learning with deep generative models*, 2014, section
        2.1 (the model M1).

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(1, 8, 8), latent_dim=3, hidden=[16])
        >>> encoded(pyvae.datasets.digits(), vae).shape
        (3,)
    """
    inspection = inspect_pair(pair, batches_for(pair, data.train.without_labels(), 8).first())
    name = _chosen(inspection, site, type(pair).__name__)

    def draw(x: Tensor) -> Tensor:
        with torch.no_grad(), evaluation_mode(pair), isolated_param_store(inspection.stray):
            trace = poutine.trace(pair.guide).get_trace(x.to(device_of(pair)))
            return trace.nodes[name]["value"].to(x.device)

    return data.transformed(draw, result_levels=None, name="encoded", site=name, pair=type(pair).__name__)


def _chosen(inspection: Inspection, site: str | None, kind: str) -> str:
    """The latent site of this name, or the only one that is continuous."""
    continuous = continuous_sites(inspection)
    if site is None and len(continuous) != 1:
        raise PairError(f"the continuous latents of {kind} are {continuous}; choose one as site")
    if site is not None and site not in inspection.latents:
        raise PairError(f"{kind} has no latent site {site!r}; expected one of {inspection.latents}")
    return continuous[0] if site is None else site
