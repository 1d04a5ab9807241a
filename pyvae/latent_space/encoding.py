"""Latents of a trained pair as data for the next one."""

import torch
from pyro import poutine
from torch import Tensor, nn

from pyvae.batching.batches import batches_for
from pyvae.core.modules import evaluation_mode, isolated_param_store
from pyvae.datasets import DataSplits
from pyvae.errors import PairError
from pyvae.inspection.inspection import inspect_pair

__all__ = ["encoded"]


def encoded(data: DataSplits, pair: nn.Module, site: str = "z") -> DataSplits:
    """A dataset of latents z ~ q(z | x) in place of x, drawn anew each time a row is taken; labels stay.

    With few labels, a semi-supervised VAE of such z (the model M2, on top of the VAE M1 that gives them) separates
    the classes better than one of x. The likelihood is then one of z:
    :class:`pyvae.likelihoods.HeteroscedasticNormal`.

    Args:
        data: data that the pair takes.
        pair: a trained pair whose guide is called with x alone.
        site: its latent site.

    Raises:
        PairError: if the pair has no such site, or its guide fails on these data.

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
    if site not in inspection.latents:
        raise PairError(f"{type(pair).__name__} has no latent site {site!r}; expected one of {inspection.latents}")

    def draw(x: Tensor) -> Tensor:
        with torch.no_grad(), evaluation_mode(pair), isolated_param_store(inspection.stray):
            return poutine.trace(pair.guide).get_trace(x).nodes[site]["value"]

    return data.transformed(draw, name="encoded", site=site, pair=type(pair).__name__)
