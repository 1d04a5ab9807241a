"""The two arms of a U-Net and their bridge."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from pyvae.networks.residual_blocks import ResidualBlock, SelfAttention, group_norm

__all__ = ["Pyramid"]


class _Level(nn.Module):
    """Residual blocks at one size, all conditioned on the same embedding."""

    def __init__(self, fan_in: int, fan_out: int, dim: int, groups: int, blocks: int) -> None:
        super().__init__()
        fans = pairwise([fan_in] + [fan_out] * blocks)
        self.blocks = nn.ModuleList(ResidualBlock(*pair, dim, groups) for pair in fans)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        for block in self.blocks:
            h = block(h, e)
        return h


class Pyramid(nn.Module):
    r"""The U-Net on a flat batch: a pyramid of residual blocks down and up again, joined by skip connections.

    .. math:: h_i = B_i(D h_{i-1}, e), \qquad u_i = B'_i([C u_{i+1}, h_i], e), \qquad f = W \, \mathrm{SiLU}(N u_0)

    D are stride-2 convolutions, B residual blocks, C interpolations to the size of h_i and a convolution, and N is a
    group normalization. W is zero at first.

    Args:
        ends: channels of the input and of the output.
        channels: channels of each level, from fine to coarse.
        dim: length of the embedding e.
        groups: groups of the normalizations, as in :class:`ResidualBlock`.
        blocks: residual blocks for each level and direction.
        attention: whether the pixels of the coarsest level attend to each other.

    References:
        Ronneberger, Fischer and Brox, *U-Net: convolutional networks for biomedical image segmentation*, 2015.

    Example:
        >>> network = Pyramid([3, 1], [4, 8], dim=8, groups=2, blocks=1, attention=True)
        >>> network(torch.zeros(5, 3, 7, 9), torch.zeros(5, 8)).shape
        torch.Size([5, 1, 7, 9])
    """

    def __init__(
        self, ends: list[int], channels: list[int], dim: int, groups: int, blocks: int, attention: bool
    ) -> None:
        super().__init__()
        fine, last = channels[:-1], channels[-1]
        self.stem = nn.Conv2d(ends[0], channels[0], 3, padding=1)
        self.down = nn.ModuleList(_Level(c, c, dim, groups, blocks) for c in fine)
        self.downsample = nn.ModuleList(nn.Conv2d(c, d, 3, stride=2, padding=1) for c, d in pairwise(channels))
        self.coarsest = _Level(last, last, dim, groups, blocks)
        self.attention = SelfAttention(last, groups) if attention else nn.Identity()
        self.after_attention = _Level(last, last, dim, groups, blocks)
        self.upsample = nn.ModuleList(nn.Conv2d(d, c, 3, padding=1) for c, d in pairwise(channels))
        self.up = nn.ModuleList(_Level(2 * c, c, dim, groups, blocks) for c in fine)
        self.norm = group_norm(channels[0], groups)
        self.head = nn.Conv2d(channels[0], ends[1], 3, padding=1)
        # f = 0 is the best constant guess of centred noise, and from there the first steps are calm
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """Images with the size of x and ``ends[1]`` channels."""
        h = self.stem(x)
        skips = []
        for level, downsample in zip(self.down, self.downsample, strict=True):
            skips.append(level(h, e))
            h = downsample(skips[-1])
        h = self.after_attention(self.attention(self.coarsest(h, e)), e)
        for level, upsample, skip in zip(self.up[::-1], self.upsample[::-1], skips[::-1], strict=True):
            # to the size of the skip and not by a factor of 2, as odd sizes were rounded up on the way down
            h = upsample(functional.interpolate(h, size=skip.shape[2:], mode="nearest"))
            h = level(torch.cat([h, skip], 1), e)
        return self.head(functional.silu(self.norm(h)))
