"""Recipes of vector-quantized VAEs, with the priors from which they generate."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from pyvae.datasets import Kind
from pyvae.errors import ArgumentError
from pyvae.likelihoods import Bernoulli, Normal
from pyvae.models import VQVAE, VQVAE2
from pyvae.networks import (
    MLP,
    AnyLeadingDims,
    Features,
    JoinedMaps,
    OneHot,
    PixelCNN,
    SpectralDistance,
    StridedDecoder,
    StridedEncoder,
)
from pyvae.networks.shapes import as_shape
from pyvae.priors import AutoregressiveCodes, LowerCodes
from pyvae.quantizers import Quantizer, ResidualQuantizer, VectorQuantizer
from pyvae.recipes.recipe import MakeLikelihood, decoded, recipe

__all__ = ["conditional_vqvae", "speech", "vqvae", "vqvae2"]

MakeCodeNetwork = Callable[[Sequence[int], int], nn.Module]


#: codes have no noise to bargain with: that of a binarization would be encoded, so grey levels stay as they are
_TAKES = (Kind.LEVELS, Kind.BINARY, Kind.REALS, Kind.INTENSITIES)


def _quantizer(num_codes: int, dim: int, levels: int = 1) -> Quantizer:
    """A quantizer that learns by exponential moving averages (EMA) and revives codes that are hardly used."""
    made = [VectorQuantizer(num_codes, dim, decay=0.99, revive_below=1.0) for _ in range(levels)]
    return made[0] if levels == 1 else ResidualQuantizer(made)


def _assembled(
    shape: Sequence[int],
    quantizer: Quantizer,
    networks: tuple[torch.Size, nn.Module, Callable[[torch.Size], nn.Module]],
    likelihood: MakeLikelihood,
    prior_network: MakeCodeNetwork,
    num_classes: int = 0,
    distance: nn.Module | None = None,
) -> VQVAE:
    """A pair with an autoregressive prior over codes, from the grid, the encoder and what makes the decoder."""
    grid, encoder, decoder = networks
    context = {"context_dim": num_classes} if num_classes else {}
    return VQVAE(
        prior=AutoregressiveCodes(prior_network(quantizer.code_shape(grid), quantizer.num_codes, **context)),
        likelihood=decoded(likelihood, decoder, shape),
        encoder=encoder,
        quantizer=quantizer,
        context=OneHot(num_classes) if num_classes else None,
        distance=distance,
    )


def _convolutions(
    shape: Sequence[int],
    dim: int,
    channels: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] = (1, 1),
    context_dim: int = 0,
) -> tuple[torch.Size, nn.Module, Callable[[torch.Size], nn.Module]]:
    """The grid of the codes, an encoder, and what makes a decoder from the shape of its output."""
    strides = strides or [2] * len(channels)
    encoder = StridedEncoder(shape, dim, channels, strides, dilations, context_dim)

    def decoder(out: torch.Size) -> StridedDecoder:
        return StridedDecoder(dim, out, channels[::-1], strides[::-1], dilations, context_dim)

    return encoder.grid, encoder, decoder


def _networks(
    shape: Sequence[int], dim: int, channels: list[int], strides: list[int] | None, context_dim: int = 0
) -> tuple[torch.Size, nn.Module, Callable[[torch.Size], nn.Module]]:
    """Convolutions for images and signals; for vectors, perceptrons and one code for each of ``channels``."""
    shape = as_shape(shape, "shape")
    if len(shape) > 1:
        return _convolutions(shape, dim, channels, strides, context_dim=context_dim)
    if strides:
        raise ArgumentError(f"strides are {strides}, but the data are vectors, without places to leave out")
    maps = (dim, len(channels))
    encoder = MLP(shape, maps, channels, context_dim)
    return torch.Size(maps[1:]), encoder, lambda out: MLP(maps, out, channels[::-1], context_dim)


@recipe(takes=_TAKES, epochs=50)
def vqvae(
    shape: Sequence[int],
    num_codes: int = 128,
    dim: int = 16,
    channels: list[int] = [32, 64],  # noqa: B006 (jsonargparse shows it; nothing changes it)
    strides: list[int] | None = None,
    likelihood: MakeLikelihood = Bernoulli,
    quantizer: Quantizer | None = None,
    prior_network: MakeCodeNetwork = PixelCNN,
) -> VQVAE:
    """The vector-quantized VAE: a grid of codes for each image, signal or vector, and a PixelCNN as their prior.

    Prior and codes are trained together: integers carry no gradient, so neither disturbs the other.

    Args:
        shape: event shape of x.
        num_codes: K.
        dim: length of the code vectors.
        channels: channels of the encoder's convolutions; the decoder has them in reverse. Vectors get perceptrons of
            these widths, and as many codes as there are widths.
        strides: by which each convolution makes the grid coarser; by default 2 each.
        likelihood: makes p(x | z) from the decoder.
        quantizer: from vectors of the encoder to codes, in place of ``num_codes`` and ``dim``; by default a
            VectorQuantizer that learns by exponential moving averages (EMA, decay 0.99) and revives dead codes.
        prior_network: makes the network of p(k) from the shape of the grid and the number of codes.

    Example:
        >>> vqvae(shape=(1, 8, 8), num_codes=16, channels=[8]).encode(torch.rand(3, 1, 8, 8)).shape
        torch.Size([3, 4, 4])
    """
    quantizer = quantizer or _quantizer(num_codes, dim)
    return _assembled(shape, quantizer, _networks(shape, quantizer.dim, channels, strides), likelihood, prior_network)


@recipe(takes=_TAKES, epochs=50)
def conditional_vqvae(
    shape: Sequence[int],
    num_classes: int,
    num_codes: int = 128,
    dim: int = 16,
    channels: list[int] = [32, 64],  # noqa: B006
    strides: list[int] | None = None,
    likelihood: MakeLikelihood = Bernoulli,
    quantizer: Quantizer | None = None,
    prior_network: MakeCodeNetwork = PixelCNN,
) -> VQVAE:
    """The class-conditional vector-quantized VAE: prior, encoder and decoder are given the class.

    Args:
        shape: event shape of x.
        num_classes: the number of classes y.
        num_codes: K.
        dim: length of the code vectors.
        channels: as for ``vqvae``.
        strides: as for ``vqvae``.
        likelihood: makes p(x | z, y) from the decoder.
        quantizer: as for ``vqvae``.
        prior_network: makes the network of p(k | y); called with ``context_dim`` too.

    Example:
        >>> pair = conditional_vqvae(shape=(1, 8, 8), num_classes=10, num_codes=16, channels=[8])
        >>> pair.model(y=torch.tensor([3, 7])).shape
        torch.Size([2, 1, 8, 8])
    """
    quantizer = quantizer or _quantizer(num_codes, dim)
    networks = _networks(shape, quantizer.dim, channels, strides, num_classes)
    return _assembled(shape, quantizer, networks, likelihood, prior_network, num_classes)


@recipe(takes=_TAKES, epochs=50)
def vqvae2(
    shape: Sequence[int],
    num_codes: int = 128,
    dim: int = 16,
    channels: list[int] = [32, 64],  # noqa: B006
    likelihood: MakeLikelihood = Bernoulli,
    prior_network: MakeCodeNetwork = PixelCNN,
) -> VQVAE2:
    """VQ-VAE-2: a coarse grid of codes for the structure, a fine one for the texture, and a PixelCNN for each.

    Args:
        shape: event shape of x, a signal or an image.
        num_codes: K, of each level.
        dim: length of the code vectors.
        channels: of the convolutions; all but the last lead to the bottom's grid, and the last from there to the top's.
        likelihood: makes p(x | z_bottom, z_top) from the decoder.
        prior_network: makes the networks of the priors; called with ``context_channels`` for the bottom's.

    Raises:
        ArgumentError: if there are fewer than two channels.

    Example:
        >>> pair = vqvae2(shape=(1, 8, 8), num_codes=16, channels=[8, 8])
        >>> [k.shape for k in pair.encode(torch.rand(3, 1, 8, 8))]
        [torch.Size([3, 2, 2]), torch.Size([3, 4, 4])]
    """
    if len(channels) < 2:
        raise ArgumentError(f"channels are {channels}; expected at least two, for the bottom's grid and the top's")
    *fine, coarse = channels
    strides = [2] * len(fine)
    bottom = StridedEncoder(shape, coarse, fine, strides)
    top = StridedEncoder((coarse, *bottom.grid), dim, [coarse], [2])

    def decoder(out: torch.Size) -> nn.Module:
        return JoinedMaps(dim, dim, coarse, bottom.grid, StridedDecoder(coarse, out, [coarse, *fine[:0:-1]], strides))

    lower = prior_network(bottom.grid, num_codes, context_channels=dim)
    stretch = AnyLeadingDims(nn.Upsample(size=tuple(bottom.grid)), [1 + len(bottom.grid)])
    return VQVAE2(
        prior_top=AutoregressiveCodes(prior_network(top.grid, num_codes)),
        prior_bottom=LowerCodes(lower, stretch),
        likelihood=decoded(likelihood, decoder, shape),
        features=Features([bottom, top]),
        condition=JoinedMaps(coarse, dim, dim, bottom.grid),
        quantizer_top=_quantizer(num_codes, dim),
        quantizer_bottom=_quantizer(num_codes, dim),
    )


@recipe(data="spoken_digits", preprocessing="no_preprocessing", epochs=40, batch_size=16)
def speech(
    shape: Sequence[int],
    num_classes: int,
    num_codes: int = 256,
    levels: int = 3,
    dim: int = 32,
    channels: list[int] = [32, 64, 128],  # noqa: B006
    strides: list[int] = [4, 4, 2],  # noqa: B006
    dilations: list[int] = [1, 3, 9],  # noqa: B006
    scale: float = 0.1,
    spectral_weight: float = 3000.0,
    quantizer: Quantizer | None = None,
    prior_network: MakeCodeNetwork = PixelCNN,
) -> VQVAE:
    """The vector-quantized VAE of waveforms, with a decoder conditioned on the speaker, which can swap voices.

    Args:
        shape: (channels, samples) of x.
        num_classes: the number of speakers y.
        num_codes: K.
        levels: how many codes stand for each vector, each of what those before it leave over
            (:class:`~pyvae.quantizers.ResidualQuantizer`).
        dim: length of the code vectors.
        channels: channels of the encoder's convolutions; the decoder has them in reverse.
        strides: by which each convolution makes the grid coarser.
        dilations: of the residual blocks.
        scale: σ of p(x | z, y) = N(x; f(z, y), σ² I), which is not learned: ``spectral_weight`` goes with it.
        spectral_weight: weight of a distance between spectrograms that joins the likelihood in training; 0 for none.
        quantizer: as for ``vqvae``; in place of ``levels``, too.
        prior_network: makes the network of p(k | y); called with ``context_dim`` too.

    Example:
        >>> pair = speech(shape=(1, 2000), num_classes=6, channels=[4, 8, 8])
        >>> pair.encode(torch.randn(2, 1, 2000), torch.tensor([0, 5])).shape
        torch.Size([2, 63, 3])
    """
    quantizer = quantizer or _quantizer(num_codes, dim, levels)
    networks = _convolutions(shape, quantizer.dim, channels, strides, dilations, num_classes)
    distance = SpectralDistance(spectral_weight) if spectral_weight else None
    # fixed, as the spectral distance is weighed against it
    likelihood = partial(Normal, scale=scale, learn_scale=False)
    return _assembled(shape, quantizer, networks, likelihood, prior_network, num_classes, distance)
