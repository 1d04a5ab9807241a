"""The recipe of VAEs of data with missing values."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from pyvae.guides import DiagonalNormal
from pyvae.likelihoods import MissingAtRandom, Normal
from pyvae.models import VAE
from pyvae.networks import MLP, ObservedOnly
from pyvae.networks.shapes import as_shape, doubled
from pyvae.priors import StandardNormal
from pyvae.recipes.recipe import (
    MakeGuide,
    MakeLikelihood,
    MakePrior,
    autoencoder,
    decoded,
    made_prior,
    make_posterior,
    recipe,
)

__all__ = ["incomplete"]


@recipe(
    missing=True,
    data="digits_with_gaps",
    epochs=100,
    validation=0.0,  # by the ELBO, of which this objective is not the mean, an early epoch would be the best
    batch_size=64,
    objective={"class_path": "pyvae.objectives.ImportanceWeightedELBO", "init_args": {"num_particles": 20}},
)
def incomplete(
    shape: Sequence[int],
    latent_dim: int = 10,
    hidden: list[int] = [128, 128],  # noqa: B006 (jsonargparse shows it; nothing changes it)
    likelihood: MakeLikelihood = Normal,
    prior: MakePrior = StandardNormal,
    posterior: MakeGuide = DiagonalNormal,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> VAE:
    r"""The VAE of data with missing values, which are NaN.

    .. math:: p(x_o, z) = p(z) \prod_{i \text{ observed}} p(x_i \mid z), \qquad q(z \mid x_o)

    Trained with :class:`pyvae.objectives.ImportanceWeightedELBO`, as the command line does, it is the missing data
    importance-weighted auto-encoder of Mattei and Frellsen (*MIWAE*, 2019); :func:`pyvae.impute` fills the gaps.

    Args:
        shape: event shape of x.
        latent_dim: length of z.
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
        likelihood: makes p(x | z) from the decoder; its elements must be independent.
        prior: makes p(z) from the length of z.
        posterior: makes q(z | x_o) from the encoder.
        activation: makes the nonlinearity.

    Example:
        >>> vae = incomplete(shape=(3,), latent_dim=2, hidden=[8])
        >>> vae.posterior(torch.tensor([[1.0, torch.nan, 2.0]])).batch_shape
        torch.Size([1])
    """
    shape = as_shape(shape, "shape")

    def encoder(out: torch.Size) -> nn.Module:
        return ObservedOnly(MLP(doubled(shape), out, hidden, activation=activation), shape)

    return autoencoder(
        shape,
        prior=made_prior(prior, latent_dim),
        likelihood=decoded(
            partial(MissingAtRandom, likelihood=likelihood),
            lambda out: MLP(latent_dim, out, hidden[::-1], activation=activation),
            shape,
        ),
        posterior=make_posterior(posterior, encoder, latent_dim),
    )
