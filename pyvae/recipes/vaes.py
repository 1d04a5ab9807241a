"""Recipes of VAEs with one layer of latents."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from pyvae.datasets import Kind
from pyvae.errors import ArgumentError
from pyvae.guides import DiagonalNormal
from pyvae.likelihoods import Bernoulli
from pyvae.models import VAE
from pyvae.networks import MLP, ConvDecoder, ConvEncoder, OneHot
from pyvae.priors import ConditionalNormal, StandardNormal
from pyvae.recipes.recipe import (
    MakeGuide,
    MakeLikelihood,
    MakePrior,
    autoencoder,
    decoded,
    encoder_of,
    made_prior,
    make_posterior,
    recipe,
)

__all__ = ["burda", "conditional", "convolutional", "gaussian"]


@recipe()
def gaussian(
    shape: Sequence[int],
    latent_dim: int = 10,
    hidden: list[int] = [256],  # noqa: B006 (jsonargparse shows it; nothing changes it)
    likelihood: MakeLikelihood = Bernoulli,
    prior: MakePrior = StandardNormal,
    posterior: MakeGuide = DiagonalNormal,
    activation: Callable[[], nn.Module] = nn.ReLU,
    log_input: bool | None = None,
) -> VAE:
    r"""The Gaussian VAE with multilayer perceptrons.

    .. math:: p(x, z) = p(z) \, p(x \mid z), \qquad q(z \mid x) = \mathcal N(z; \mu(x), \operatorname{diag} \sigma(x)^2)

    Args:
        shape: event shape of x.
        latent_dim: length of z.
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
        likelihood: makes p(x | z) from the decoder.
        prior: makes p(z) from the length of z.
        posterior: makes q(z | x) from the encoder.
        activation: makes the nonlinearity.
        log_input: whether the encoder sees log(1 + x); by default if the likelihood is one of counts.

    Example:
        >>> gaussian(shape=(1, 8, 8), latent_dim=2).model(size=3).shape
        torch.Size([3, 1, 8, 8])
    """
    start = made_prior(prior, latent_dim)
    p = decoded(likelihood, lambda out: MLP(latent_dim, out, hidden[::-1], activation=activation), shape)

    def encoder(out: torch.Size) -> nn.Module:
        return encoder_of(MLP(shape, out, hidden, activation=activation), p, log_input)

    return autoencoder(shape, start, p, make_posterior(posterior, encoder, latent_dim))


@recipe(epochs=20)
def convolutional(
    shape: Sequence[int],
    latent_dim: int = 16,
    channels: list[int] = [32, 64],  # noqa: B006
    likelihood: MakeLikelihood = Bernoulli,
    prior: MakePrior = StandardNormal,
    posterior: MakeGuide = DiagonalNormal,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> VAE:
    """The Gaussian VAE with convolutional networks, for images.

    Args:
        shape: (channels, height, width) of x.
        latent_dim: length of z.
        channels: channels of the encoder's layers, each halving the image; the decoder has them in reverse.
        likelihood: makes p(x | z) from the decoder.
        prior: makes p(z) from the length of z.
        posterior: makes q(z | x) from the encoder.
        activation: makes the nonlinearity.

    Example:
        >>> convolutional(shape=(1, 8, 8), latent_dim=2).model(size=3).shape
        torch.Size([3, 1, 8, 8])
    """
    return autoencoder(
        shape,
        prior=made_prior(prior, latent_dim),
        likelihood=decoded(
            likelihood, lambda out: ConvDecoder(latent_dim, out, channels[::-1], activation=activation), shape
        ),
        posterior=make_posterior(
            posterior, lambda out: ConvEncoder(shape, out, channels, activation=activation), latent_dim
        ),
    )


@recipe()
def conditional(
    shape: Sequence[int],
    num_classes: int,
    latent_dim: int = 5,
    hidden: list[int] = [400, 400],  # noqa: B006
    likelihood: MakeLikelihood = Bernoulli,
    prior: MakePrior = StandardNormal,
    learn_prior: bool = False,
    posterior: MakeGuide = DiagonalNormal,
    activation: Callable[[], nn.Module] = nn.ReLU,
    log_input: bool | None = None,
) -> VAE:
    r"""The class-conditional VAE with multilayer perceptrons.

    .. math:: p(x, z \mid y) = p(z) \, p(x \mid z, y), \qquad q(z \mid x, y)

    Args:
        shape: event shape of x.
        num_classes: the number of classes y.
        latent_dim: length of z.
        hidden: widths of the encoder's hidden layers; the decoder has them in reverse.
        likelihood: makes p(x | z, y) from the decoder.
        prior: makes p(z | y) from the length of z.
        learn_prior: whether the prior is N(μ(y), diag σ(y)²) with learned μ and σ, in place of ``prior``.
        posterior: makes q(z | x, y) from the encoder.
        activation: makes the nonlinearity.
        log_input: whether the encoder sees log(1 + x); by default if the likelihood is one of counts.

    Example:
        >>> import torch
        >>> conditional(shape=(1, 8, 8), num_classes=10, latent_dim=2).model(y=torch.tensor([3, 7])).shape
        torch.Size([2, 1, 8, 8])
    """

    def network(start: Sequence[int] | int, end: Sequence[int] | int, widths: Sequence[int]) -> MLP:
        return MLP(start, end, widths, context_dim=num_classes, activation=activation)

    if learn_prior:
        prior = partial(ConditionalNormal, nn.Linear(num_classes, 2 * latent_dim))
    start = made_prior(prior, latent_dim)
    p = decoded(likelihood, lambda out: network(latent_dim, out, hidden[::-1]), shape)
    q = make_posterior(posterior, lambda out: encoder_of(network(shape, out, hidden), p, log_input), latent_dim)
    return autoencoder(shape, start, p, q, context=OneHot(num_classes))


@recipe(
    takes=[Kind.BINARY],
    data="mnist",
    batch_size=100,
    epochs=20,
    validation=0.0,
    optimizer={"class_path": "torch.optim.Adam", "init_args": {"lr": 2e-3, "fused": True}},
    schedule="cosine",
)
def burda(
    shape: Sequence[int],
    latent_dim: int = 50,
    mean_intensity: float = 0.13,
    prior: MakePrior = StandardNormal,
    posterior: MakeGuide = DiagonalNormal,
) -> VAE:
    """The one-layer VAE of Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2016, section 5.

    784-200-200-50 with tanh, for dynamically binarized MNIST in batches of 100. Theirs has a test NLL of 86.76 nats
    (table 1) after 3,280 epochs at a falling learning rate; ours trains for 20 epochs, or as many as are asked for, at
    one that falls to zero.

    Args:
        shape: event shape of x.
        latent_dim: length of z.
        mean_intensity: the probability of a white pixel at which the decoder starts; MNIST's mean is 0.13.
        prior: makes p(z) from the length of z.
        posterior: makes q(z | x) from the encoder.

    Raises:
        ArgumentError: if ``mean_intensity`` is not between 0 and 1.
    """
    if not 0 < mean_intensity < 1:
        raise ArgumentError(f"mean_intensity is {mean_intensity}; expected a number between 0 and 1")
    vae = gaussian(shape, latent_dim, [200, 200], prior=prior, posterior=posterior, activation=nn.Tanh)
    nn.init.constant_(vae.likelihood.network.layers[-1].bias, math.log(mean_intensity / (1 - mean_intensity)))
    return vae
