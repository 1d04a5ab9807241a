"""Strided convolutions onto a coarse grid of vectors, and back: for images and for signals."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvae.core.arguments import check_int
from pyvae.errors import ArgumentError
from pyvae.networks.leading_dims import AnyLeadingDims
from pyvae.networks.shapes import as_shape, as_widths, check_event

__all__ = ["StridedDecoder", "StridedEncoder", "strided_grid"]

_CONVOLUTIONS = {1: (nn.Conv1d, nn.ConvTranspose1d), 2: (nn.Conv2d, nn.ConvTranspose2d)}


def strided_grid(shape: Sequence[int], strides: Sequence[int]) -> torch.Size:
    """The grid onto which strided convolutions map a signal (channels, length) or an image (channels, height, width).

    Raises:
        ArgumentError: if ``shape`` is neither, or ``strides`` are not positive ints.

    Example:
        >>> strided_grid((1, 28, 28), [2, 2])
        torch.Size([7, 7])
    """
    shape, strides = as_shape(shape, "shape"), as_widths(strides, "strides")
    if len(shape) not in (2, 3):
        raise ArgumentError(
            f"shape is {tuple(shape)}; expected (channels, length) of signals or (channels, height, width) of images"
        )
    return torch.Size(math.ceil(size / math.prod(strides)) for size in shape[1:])


def _check_layers(channels: Sequence[int], strides: Sequence[int]) -> None:
    if not as_widths(channels, "channels") or len(channels) != len(strides) or min(strides) < 2:
        raise ArgumentError(
            f"channels are {channels} and strides {strides}; expected as many of one as of the other, strides from 2"
        )


class _Residual(nn.Module):
    """x + C_2 a(C_1 a(x) + W c), with a dilated C_1."""

    def __init__(self, dims: int, channels: int, dilation: int, context_dim: int, activation: Callable) -> None:
        super().__init__()
        convolution = _CONVOLUTIONS[dims][0]
        self.first = convolution(channels, channels, 3, padding=dilation, dilation=dilation)
        self.second = convolution(channels, channels, 1)
        self.context = nn.Linear(context_dim, channels, bias=False) if context_dim else None
        self.before, self.after = activation(), activation()

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        h = self.first(self.before(x))
        if self.context is not None:
            bias = self.context(*context)
            h = h + bias.reshape(*bias.shape, *[1] * (h.dim() - 2))
        return x + self.second(self.after(h))


def _residual_blocks(
    dims: int, channels: int, dilations: Sequence[int], context_dim: int, activation: Callable
) -> list[_Residual]:
    return [_Residual(dims, channels, d, context_dim, activation) for d in as_widths(dilations, "dilations")]


class _Chain(nn.Module):
    """Layers before, residual blocks with context, layers after, on a flat batch."""

    def __init__(self, before: nn.Module, blocks: Sequence[_Residual], after: nn.Module) -> None:
        super().__init__()
        self.before, self.blocks, self.after = before, nn.ModuleList(blocks), after

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        x = self.before(x)
        for block in self.blocks:
            x = block(x, *context)
        return self.after(x)


class StridedEncoder(nn.Module):
    r"""A strided convolutional encoder f(x, c) of signals or images onto a coarse grid of vectors.

    Strided convolutions, then residual blocks on the coarse grid, conditioned on the context c, and a linear map.

    Args:
        in_shape: (channels, length) of signals or (channels, height, width) of images.
        out_channels: length of the vectors on the grid.
        channels: of each strided convolution.
        strides: by which each makes the grid coarser; its kernel is twice as long. What does not divide the shape
            is filled up with zeros at the end.
        dilations: of the residual blocks, one each; growing ones, such as (1, 3, 9), reach far along a signal.
        context_dim: length of the context vector c, 0 for none.
        activation: makes the nonlinearity.

    Raises:
        ArgumentError: if ``in_shape`` has another number of dimensions, or channels and strides do not match;
            when called, if x has another shape.

    References:
        Van den Oord, Vinyals and Kavukcuoglu, *Neural discrete representation learning*, 2017, section 4.1.

    Example:
        >>> StridedEncoder((1, 28, 28), 16)(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5, 16, 7, 7])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_channels: int,
        channels: Sequence[int] = (32, 64),
        strides: Sequence[int] = (2, 2),
        dilations: Sequence[int] = (1, 1),
        context_dim: int = 0,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        check_int("out_channels", out_channels)
        self.shape, self.grid = as_shape(in_shape, "in_shape"), strided_grid(in_shape, strides)
        _check_layers(channels, strides)
        convolution, _ = _CONVOLUTIONS[len(self.grid)]
        whole = [g * math.prod(strides) for g in self.grid]
        self._padding = [p for w, s in zip(whole[::-1], self.shape[:0:-1], strict=True) for p in (0, w - s)]
        layers: list[nn.Module] = []
        for (fan_in, fan_out), stride in zip(pairwise([self.shape[0], *channels]), strides, strict=True):
            layers += [convolution(fan_in, fan_out, 2 * stride, stride, math.ceil(stride / 2)), activation()]
        last = channels[-1]
        blocks = _residual_blocks(len(self.grid), last, dilations, context_dim, activation)
        after = nn.Sequential(activation(), convolution(last, out_channels, 1))
        chain = _Chain(nn.Sequential(*layers[:-1]), blocks, after)
        self.network = AnyLeadingDims(chain, [len(self.shape)] + [1] * bool(context_dim))

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """Feature maps, (leading dims) + (out_channels,) + grid."""
        check_event(self, x, self.shape)
        return self.network(F.pad(x, self._padding), *context)


class StridedDecoder(nn.Module):
    r"""A strided convolutional decoder f(z, c) from a coarse grid of vectors onto signals or images.

    Residual blocks on the coarse grid, then transposed convolutions.

    Args:
        in_channels: length of the vectors on the grid.
        out_shape: (channels, length) of signals or (channels, height, width) of images.
        channels: input channels of each transposed convolution.
        strides: by which each makes the grid finer; what is too much at the end is cut off.
        dilations: of the residual blocks, one each.
        context_dim: length of the context vector c, 0 for none.
        activation: makes the nonlinearity.

    Raises:
        ArgumentError: if ``out_shape`` has another number of dimensions, or channels and strides do not match;
            when called, if z has another shape.

    Example:
        >>> StridedDecoder(16, (1, 28, 28))(torch.zeros(5, 3, 16, 7, 7)).shape
        torch.Size([5, 3, 1, 28, 28])
    """

    def __init__(
        self,
        in_channels: int,
        out_shape: Sequence[int],
        channels: Sequence[int] = (64, 32),
        strides: Sequence[int] = (2, 2),
        dilations: Sequence[int] = (1, 1),
        context_dim: int = 0,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        check_int("in_channels", in_channels)
        self.in_channels = in_channels
        self.shape, self.grid = as_shape(out_shape, "out_shape"), strided_grid(out_shape, strides)
        _check_layers(channels, strides)
        convolution, transposed = _CONVOLUTIONS[len(self.grid)]
        blocks = _residual_blocks(len(self.grid), channels[0], dilations, context_dim, activation)
        layers: list[nn.Module] = []
        for (fan_in, fan_out), stride in zip(pairwise([*channels, self.shape[0]]), strides, strict=True):
            # an odd stride needs one more at the end to come to its multiple
            layers += [activation(), transposed(fan_in, fan_out, 2 * stride, stride, math.ceil(stride / 2), stride % 2)]
        first = convolution(in_channels, channels[0], 3, padding=1)
        event_dims = [len(self.shape)] + [1] * bool(context_dim)
        self.network = AnyLeadingDims(_Chain(first, blocks, nn.Sequential(*layers)), event_dims)

    def forward(self, z: Tensor, *context: Tensor) -> Tensor:
        """The output, of shape (leading dims) + ``out_shape``."""
        check_event(self, z, (self.in_channels, *self.grid))
        x = self.network(z, *context)
        for dim, size in enumerate(self.shape[1:]):
            x = x.narrow(dim - len(self.grid), 0, size)
        return x
