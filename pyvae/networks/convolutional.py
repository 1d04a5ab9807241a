"""A small convolutional encoder and decoder for images of any size."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyvae.errors import ArgumentError
from pyvae.networks.leading_dims import AnyLeadingDims
from pyvae.networks.mlp import MLP
from pyvae.networks.shapes import as_shape, as_widths

__all__ = ["ConvDecoder", "ConvEncoder"]


def _pyramid(shape: torch.Size, levels: int) -> list[tuple[int, int]]:
    """The spatial sizes of an image as stride-2 convolutions halve it, rounding up, from fine to coarse."""
    sizes = [(shape[-2], shape[-1])]
    for _ in range(levels):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def _check_image(shape: torch.Size, channels: Sequence[int]) -> None:
    if len(shape) != 3 or not as_widths(channels, "channels"):
        raise ArgumentError(
            f"got image shape {tuple(shape)} and channels {tuple(channels)}; expected a shape "
            "(channels, height, width) and at least one layer; grey images need a channel of their own, x[:, None], "
            "and vectors an MLP"
        )


class ConvEncoder(nn.Module):
    r"""A convolutional encoder f(x, c) of images.

    Stride-2 3×3 convolutions, then an affine map of the features and the context c.

    Args:
        in_shape: (channels, height, width) of the image.
        out_shape: event shape of the output.
        channels: output channels of each convolution; each halves height and width.
        context_dim: length of the context vector c, 0 for none.
        activation: makes the nonlinearity.

    Raises:
        ArgumentError: if ``in_shape`` is not that of an image, or ``channels`` is empty.

    Example:
        >>> ConvEncoder((3, 32, 32), 20)(torch.zeros(4, 3, 32, 32)).shape
        torch.Size([4, 20])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: int | Sequence[int],
        channels: Sequence[int] = (32, 64),
        context_dim: int = 0,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        shape = as_shape(in_shape, "in_shape")
        _check_image(shape, channels)
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise([shape[0], *channels]):
            layers += [nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1), activation()]
        self.features = AnyLeadingDims(nn.Sequential(*layers), [3])
        coarse = (channels[-1], *_pyramid(shape, len(channels))[-1])
        self.head = MLP(coarse, out_shape, hidden=(), context_dim=context_dim)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """The output, of shape (leading dims) + ``out_shape``."""
        return self.head(self.features(x), *context)


class ConvDecoder(nn.Module):
    r"""A convolutional decoder f(z, c) onto images.

    An affine map of latent and context, then stride-2 3×3 transposed convolutions.

    Args:
        in_shape: event shape of the latent z.
        out_shape: (channels, height, width) of the output.
        channels: input channels of each transposed convolution; each doubles height and width.
        context_dim: length of the context vector c, 0 for none.
        activation: makes the nonlinearity.

    Raises:
        ArgumentError: if ``out_shape`` is not that of an image, or ``channels`` is empty.

    Example:
        >>> ConvDecoder(20, (1, 28, 28))(torch.zeros(7, 4, 20)).shape
        torch.Size([7, 4, 1, 28, 28])
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_shape: Sequence[int],
        channels: Sequence[int] = (64, 32),
        context_dim: int = 0,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        shape = as_shape(out_shape, "out_shape")
        _check_image(shape, channels)
        sizes = _pyramid(shape, len(channels))[::-1]
        layers: list[nn.Module] = []
        for (fan_in, fan_out), (small, large) in zip(pairwise([*channels, shape[0]]), pairwise(sizes), strict=True):
            odd = tuple(2 * s - 1 for s in small)
            padding = (large[0] - odd[0], large[1] - odd[1])
            layers += [activation(), nn.ConvTranspose2d(fan_in, fan_out, 3, 2, padding=1, output_padding=padding)]
        self.head = MLP(in_shape, (channels[0], *sizes[0]), hidden=(), context_dim=context_dim)
        self.image = AnyLeadingDims(nn.Sequential(*layers), [3])

    def forward(self, z: Tensor, *context: Tensor) -> Tensor:
        """The image, of shape (leading dims) + ``out_shape``."""
        return self.image(self.head(z, *context))
