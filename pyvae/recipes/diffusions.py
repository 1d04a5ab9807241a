"""Recipes of diffusions."""

from collections.abc import Callable, Sequence
from typing import Literal

from torch import nn

from pyvae.datasets import Kind
from pyvae.models import DiffusionVAE, SingleStep
from pyvae.networks import LearnedNoise, TimeMLP, UNet
from pyvae.networks.shapes import as_shape
from pyvae.recipes.recipe import recipe

__all__ = ["diffusion"]


def _single_step(pair: DiffusionVAE) -> SingleStep:
    return SingleStep(pair, pair.weighting)


@recipe(
    trains=_single_step,
    takes=[Kind.BINARY, Kind.LEVELS, Kind.REALS],
    epochs=150,
    batch_size=64,
    evaluation_particles=2,
    levels=None,  # which are those of the data
)
def diffusion(
    shape: Sequence[int],
    steps: int = 50,
    channels: list[int] = [16, 32],  # noqa: B006 (jsonargparse shows it; nothing changes it)
    levels: int | None = 2,
    weighting: Literal["likelihood", "simple"] = "likelihood",
    prediction: Literal["noise", "data", "velocity"] = "velocity",
    variance: Literal["posterior", "forward", "learned"] = "posterior",
    noise: Callable[[int], nn.Module] = LearnedNoise,
) -> DiffusionVAE:
    """Denoising diffusion: the hierarchical VAE whose guide is the fixed process from data to noise.

    It trains on one step for each datapoint, and is evaluated on the chain of all. Images get a U-Net, other data a
    perceptron.

    Args:
        shape: event shape of x.
        steps: T.
        channels: channels of the U-Net's levels; eight times these are the widths of the perceptron's layers.
        levels: the number of grey levels of x in [0, 1], 2 for binarized data; None for data that are not on a grid.
        weighting: of the terms in training: those of the ELBO, or the simple loss.
        prediction: what the network gives: ε, x_0 or v.
        variance: that of p(x_{t−1} | x_t).
        noise: makes the noise schedule from T; the simple weighting needs one that is not learned, such as
            pyvae.networks.CosineNoise.

    Example:
        >>> diffusion(shape=(1, 8, 8), steps=5, channels=[8]).model(size=3).shape
        torch.Size([3, 1, 8, 8])
    """
    shape = as_shape(shape, "shape")
    factor = 2 if variance == "learned" else 1
    if len(shape) == 3:
        network = UNet(shape, factor * shape[0], channels)
    else:
        network = TimeMLP(shape, (factor * shape[0], *shape[1:]), [8 * c for c in channels])
    pair = DiffusionVAE(network, shape, noise(steps), prediction, variance, levels)
    pair.weighting = weighting  # which no program of the pair knows, but its training
    return pair
