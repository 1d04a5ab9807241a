"""A small U-Net for images of any size and a step."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_int
from pyvae.errors import ArgumentError
from pyvae.networks.conditioning import Conditioning, check_call
from pyvae.networks.leading_dims import AnyLeadingDims
from pyvae.networks.pyramid import Pyramid
from pyvae.networks.shapes import as_shape, as_widths

__all__ = ["UNet"]


def _check_levels(shape: torch.Size, channels: Sequence[int], groups: int) -> None:
    if len(shape) != 3 or not as_widths(channels, "channels"):
        raise ArgumentError(
            f"got in_shape {tuple(shape)} and channels {channels!r}; expected a shape (channels, height, width) and "
            "at least one level; grey images need a channel of their own, x[:, None], and vectors a TimeMLP"
        )
    check_int("groups", groups)
    for level, width in enumerate(channels):
        height_width = [-(-size // 2**level) for size in shape[1:]]
        if height_width == [1, 1] and groups % width == 0:
            raise ArgumentError(
                f"level {level} of channels {channels!r} has images of one pixel, where groups of one channel are "
                f"normalized to zero, and groups is {groups}; expected fewer levels, or fewer groups than channels"
            )


class UNet(nn.Module):
    r"""A U-Net f(x, t, y) of an image, a time step and, if there are classes, a label.

    It goes down a pyramid of residual blocks and up again, each level joined to its twin.

    Each block scales and shifts its channels by a linear map of the embedding e(t, y). Levels are halved by stride-2
    convolutions, rounding up, so that images may have any height and width. The last convolution is zero at first, so
    that f = 0. The inputs are in the order of the (sample, timestep, class_labels) of diffusers' ``UNet2DModel``.

    Args:
        in_shape: (channels, height, width) of the image.
        out_channels: channels of the output; None for those of x.
        channels: channels of each level, from fine to coarse.
        num_classes: K, the number of classes; label K, like y=None, means "no label". None for no labels at all.
        time_dim: length of the embedding e(t, y), an even int of at least 4; see :class:`TimeEmbedding`.
        blocks: residual blocks for each level and direction.
        groups: groups of the normalizations; where they do not divide the channels, their greatest common divisor.
        attention: whether the pixels of the coarsest level attend to each other.

    Raises:
        ArgumentError: if ``in_shape`` is not that of an image, or another argument is out of range; when called, if x
            does not end in ``in_shape``, or t or y do not broadcast to its leading dimensions.
        DataError: when called with labels that are not integers, or without ``num_classes``.

    References:
        Ronneberger, Fischer and Brox, *U-Net: convolutional networks for biomedical image segmentation*, 2015; Ho,
        Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, appendix B.

    Example:
        >>> network = UNet((1, 7, 9), channels=[8, 16], num_classes=10)
        >>> network(torch.zeros(5, 2, 1, 7, 9), torch.tensor([10, 20]), torch.tensor([3, 10])).shape
        torch.Size([5, 2, 1, 7, 9])
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        out_channels: int | None = None,
        channels: Sequence[int] = (32, 64),
        num_classes: int | None = None,
        time_dim: int = 128,
        blocks: int = 1,
        groups: int = 8,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.in_shape = as_shape(in_shape, "in_shape")
        _check_levels(self.in_shape, channels, groups)
        check_int("blocks", blocks)
        if out_channels is None:
            out_channels = self.in_shape[0]
        check_int("out_channels", out_channels)
        self.out_shape = torch.Size([out_channels, *self.in_shape[1:]])
        self.conditioning = Conditioning(time_dim, num_classes)
        ends = [self.in_shape[0], out_channels]
        self.image = AnyLeadingDims(Pyramid(ends, list(channels), time_dim, groups, blocks, attention), [3, 1])

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The output, of shape (leading dims of x) + (out_channels, height, width).

        Args:
            x: images, of shape (…) + ``in_shape``.
            t: steps, a scalar tensor or one that broadcasts to the leading dimensions of x.
            y: labels, integers of a shape like that of t; None for none.
        """
        check_call(self.in_shape, x, t, y)
        return self.image(x, self.conditioning(t, y))
