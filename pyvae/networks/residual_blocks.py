"""The parts of a U-Net: on images (batch, channels, height, width) and embeddings (batch, dim)."""

from math import gcd

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ResidualBlock", "SelfAttention", "group_norm"]


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """A group normalization with as many groups as divide both ``channels`` and ``groups``.

    Example:
        >>> group_norm(12, groups=8).num_groups
        4
    """
    return nn.GroupNorm(gcd(channels, groups), channels)


class ResidualBlock(nn.Module):
    r"""A residual block of two convolutions, conditioned on an embedding by a scale and a shift of each channel.

    .. math:: S x + C_2 \, \mathrm{SiLU}((1 + \gamma) N(C_1 \, \mathrm{SiLU}(N x)) + \beta), \qquad
        (\gamma, \beta) = U e + b

    N is a group normalization, C are 3×3 convolutions, and S is the identity if the channels agree, else a 1×1
    convolution.

    Args:
        fan_in: channels of x.
        fan_out: channels of the output.
        dim: length of the embedding e.
        groups: groups of the normalization; where they do not divide the channels, their greatest common divisor.

    References:
        Dhariwal and Nichol, *Diffusion models beat GANs on image synthesis*, 2021, section 3.1.

    Example:
        >>> import torch
        >>> ResidualBlock(4, 6, dim=8, groups=2)(torch.zeros(5, 4, 7, 7), torch.zeros(5, 8)).shape
        torch.Size([5, 6, 7, 7])
    """

    def __init__(self, fan_in: int, fan_out: int, dim: int, groups: int) -> None:
        super().__init__()
        self.before = nn.Sequential(group_norm(fan_in, groups), nn.SiLU(), nn.Conv2d(fan_in, fan_out, 3, padding=1))
        self.norm = group_norm(fan_out, groups)
        self.scale_shift = nn.Linear(dim, 2 * fan_out)
        self.after = nn.Sequential(nn.SiLU(), nn.Conv2d(fan_out, fan_out, 3, padding=1))
        self.shortcut = nn.Identity() if fan_in == fan_out else nn.Conv2d(fan_in, fan_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Images with the size of x and ``fan_out`` channels."""
        scale, shift = self.scale_shift(embedding)[..., None, None].chunk(2, 1)
        return self.shortcut(x) + self.after(self.norm(self.before(x)) * (1 + scale) + shift)


class SelfAttention(nn.Module):
    r"""Self-attention over the pixels of an image.

    .. math:: x + W \operatorname{softmax}(Q^\top K / \sqrt c) V, \qquad Q, K, V \text{ linear in } N x

    Args:
        channels: c.
        groups: groups of the normalization N, as in :class:`ResidualBlock`.

    References:
        Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, appendix B.

    Example:
        >>> import torch
        >>> SelfAttention(4, groups=2)(torch.zeros(5, 4, 7, 7)).shape
        torch.Size([5, 4, 7, 7])
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups)
        self.query_key_value = nn.Linear(channels, 3 * channels, bias=False)
        self.head = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Images of the shape of x."""
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        # one head, given its dimension all the same: the fast kernels accept four dimensions only
        query, key, value = self.query_key_value(pixels)[:, None].chunk(3, -1)
        attended = functional.scaled_dot_product_attention(query, key, value)[:, 0]
        return x + self.head(attended).transpose(1, 2).unflatten(2, x.shape[2:])
