"""The VAEs that are trained: each one written by hand, as a plain Pyro pair and as pyvae users write it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.autoencoder import Autoencoder, PlainPair
from benchmarks.chain import DIMENSIONS, PIXELS, Chain, ChainByHand
from pyvae import (
    VAE,
    DiffusionVAE,
    MarkovVAE,
    SingleStep,
    guides,
    likelihoods,
    networks,
    priors,
    recipes,
)

__all__ = ["Versions", "Workload", "diffusion", "images", "latent_size", "named"]

IMAGE = (1, 28, 28)


@dataclass(frozen=True)
class Versions:
    """One VAE with one set of weights, in three versions that share them.

    Attributes:
        by_hand: a module that maps a batch to an estimate of the mean of −ELBO per datapoint.
        plain: a pair as one writes it with Pyro alone.
        pair: the pair for pyvae.
    """

    by_hand: nn.Module
    plain: nn.Module
    pair: nn.Module


@dataclass(frozen=True)
class Workload:
    """What is trained.

    Attributes:
        name: what the command line calls it.
        shape: of one datapoint.
        make: draws weights from torch's global stream, so that a seed before it gives every way the same ones.
        analytic: whether the estimate by hand has the KL in closed form.
    """

    name: str
    shape: tuple[int, ...]
    make: Callable[[], Versions]
    analytic: bool

    def seeded(self, seed: int) -> Versions:
        """The versions with the weights of ``seed``."""
        torch.manual_seed(seed)
        return self.make()


def named(name: str) -> Workload:
    """The workload ``mlp``, ``conv`` or ``chainT`` for any length T.

    Raises:
        ValueError: for any other name.
    """
    if name == "mlp":
        return latent_size(20)
    if name == "conv":
        return Workload("conv", IMAGE, _conv, analytic=True)
    if name.startswith("chain") and name.removeprefix("chain").isdecimal():
        length = int(name.removeprefix("chain"))
        return Workload(name, (PIXELS,), lambda: _chain(length), analytic=False)
    raise ValueError(f"no workload is called {name!r}; expected mlp, conv, or chain5 or a chain of another length")


def latent_size(size: int) -> Workload:
    """The VAE 784-400-size, with perceptrons of one hidden layer."""
    return Workload("mlp", IMAGE, lambda: _mlp(size), analytic=True)


def _mlp(latent_dim: int) -> Versions:
    vae = recipes.gaussian(IMAGE, latent_dim=latent_dim, hidden=[400])
    encoder = nn.Sequential(nn.Flatten(), *vae.posterior.network.layers)
    decoder = nn.Sequential(*vae.likelihood.network.layers, nn.Unflatten(1, IMAGE))
    return _of(vae, encoder, decoder)


def _conv() -> Versions:
    vae = recipes.convolutional(IMAGE)
    down, up = vae.posterior.network, vae.likelihood.network
    encoder = nn.Sequential(*down.features.network, nn.Flatten(), *down.head.layers)
    decoder = nn.Sequential(*up.head.layers, nn.Unflatten(1, up.head.out_shape), *up.image.network)
    return _of(vae, encoder, decoder)


def _of(vae: VAE, encoder: nn.Sequential, decoder: nn.Sequential) -> Versions:
    """The versions of a recipe's VAE, from its layers without pyvae's wrappers around them."""
    return Versions(Autoencoder(encoder, decoder), PlainPair(encoder, decoder), vae)


def _chain(length: int) -> Versions:
    chain = Chain(length)
    pair = MarkovVAE(
        prior=priors.StandardNormal(DIMENSIONS),
        transitions=[priors.ConditionalNormal(network, DIMENSIONS) for network in chain.transitions],
        likelihood=likelihoods.Bernoulli(chain.decoder, PIXELS),
        posterior=guides.DiagonalNormal(chain.encoder, DIMENSIONS),
        reverse_transitions=[guides.DiagonalNormal(network, DIMENSIONS) for network in chain.inversions],
    )
    return Versions(ChainByHand(chain), chain, pair)


def diffusion(steps: int) -> Workload:
    """A diffusion of so many steps with a perceptron, trained on one step for each datapoint; by pyvae alone."""

    def make() -> Versions:
        network = networks.TimeMLP(PIXELS, hidden=[256])
        pair = SingleStep(DiffusionVAE(network, PIXELS, networks.CosineNoise(steps)))
        return Versions(nn.Identity(), nn.Identity(), pair)

    return Workload("diffusion", (PIXELS,), make, analytic=True)


def images(rows: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Binary images with some structure to learn: Bernoulli pixels, whose logits are linear in eight hidden factors.

    They are made a slice at a time, so that making them takes little more memory than they do.
    """
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(8, PIXELS, generator=generator)
    data = torch.empty(rows, PIXELS)
    for part in data.split(1024):
        logits = torch.randn(len(part), 8, generator=generator) @ factors - 2
        part.copy_(torch.rand(part.shape, generator=generator) < logits.sigmoid())
    return data.unflatten(1, shape)
