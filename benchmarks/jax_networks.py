"""torch networks as functions of JAX, with the same layers and the same weights."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from torch import nn

__all__ = ["Network", "of"]

Weights = Sequence[Any]
Layer = Callable[[Any, Array], Array]
Network = tuple[Weights, Callable[[Weights, Array], Array]]

_IMAGES = ("NCHW", "OIHW", "NCHW")


def of(network: nn.Sequential) -> Network:
    """The weights of a torch network, and the function of them and an input that computes it."""
    layers = [_layer(module) for module in network]

    def apply(weights: Weights, x: Array) -> Array:
        for (_, layer), own in zip(layers, weights, strict=True):
            x = layer(own, x)
        return x

    return [own for own, _ in layers], apply


def _layer(module: nn.Module) -> tuple[tuple[Array, ...], Layer]:
    """The weights of one layer, and the layer."""
    own = tuple(jnp.asarray(p.detach().numpy()) for p in module.parameters())
    if isinstance(module, nn.Linear):
        return (own[0].T, own[1]), lambda w, x: x @ w[0] + w[1]
    if isinstance(module, nn.ReLU):
        return own, lambda _, x: jax.nn.relu(x)
    if isinstance(module, nn.Flatten):
        return own, lambda _, x: x.reshape(len(x), -1)
    if isinstance(module, nn.Unflatten):
        return own, lambda _, x: x.reshape(len(x), *module.unflattened_size)
    if isinstance(module, nn.Conv2d):
        return own, _convolution(module)
    if isinstance(module, nn.ConvTranspose2d):
        # a transposed convolution is one with the kernel mirrored, over an input with zeros between its pixels
        return (own[0].transpose(1, 0, 2, 3)[:, :, ::-1, ::-1], own[1]), _transposed_convolution(module)
    raise TypeError(f"no JAX version of {type(module).__name__} is written here")


def _convolution(module: nn.Conv2d) -> Layer:
    padding = [(p, p) for p in module.padding]

    def layer(weights: Weights, x: Array) -> Array:
        y = lax.conv_general_dilated(x, weights[0], module.stride, padding, dimension_numbers=_IMAGES)
        return y + weights[1][:, None, None]

    return layer


def _transposed_convolution(module: nn.ConvTranspose2d) -> Layer:
    sizes = zip(module.kernel_size, module.padding, module.output_padding, strict=True)
    padding = [(k - 1 - p, k - 1 - p + extra) for k, p, extra in sizes]

    def layer(weights: Weights, x: Array) -> Array:
        y = lax.conv_general_dilated(
            x, weights[0], (1, 1), padding, lhs_dilation=module.stride, dimension_numbers=_IMAGES
        )
        return y + weights[1][:, None, None]

    return layer
