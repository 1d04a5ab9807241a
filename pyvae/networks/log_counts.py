"""Counts as input of networks."""

import torch
from torch import Tensor, nn

__all__ = ["LogCounts", "LogTotal", "WithoutTotal"]


class LogCounts(nn.Module):
    r"""A wrapper that gives a network the logarithms of counts: counts themselves may be thousands.

    .. math:: f(\log(1 + x), c)

    Args:
        network: f.

    Example:
        >>> LogCounts(nn.Identity())(torch.tensor([0.0, 1.0])).tolist()
        [0.0, 0.6931471824645996]
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """The network's output for log(1 + x)."""
        return self.network(x.log1p(), *context)


class LogTotal(nn.Module):
    r"""A wrapper that adds the log total of a datapoint to the first of a network's outputs.

    .. math:: f(x, c) + (\log \textstyle\sum_i x_i, 0, \dots, 0)

    With it, a guide of the log library size starts at what is seen.

    Args:
        network: f, whose outputs are vectors.
        dims: the number of dimensions of x.

    Example:
        >>> zero = nn.Linear(2, 2)
        >>> _ = [nn.init.zeros_(p) for p in zero.parameters()]
        >>> LogTotal(zero, dims=1)(torch.tensor([[3.0, 4.0]])).exp().round().tolist()
        [[7.0, 1.0]]
    """

    def __init__(self, network: nn.Module, dims: int) -> None:
        super().__init__()
        self.network, self.dims = network, dims

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """The network's output, with the log total added to its first entry; a total of 0 counts as 1."""
        output = self.network(x, *context)
        total = x.flatten(-self.dims).sum(-1, keepdim=True).clamp(min=1).log()
        return torch.cat([output[..., :1] + total, output[..., 1:]], -1)


class WithoutTotal(nn.Module):
    """A wrapper that keeps the last of the context vectors, the log library size, from a network.

    Args:
        network: called with all other inputs.

    Example:
        >>> WithoutTotal(nn.Identity())(torch.ones(1, 2), torch.zeros(1, 1)).shape
        torch.Size([1, 2])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor, *context: Tensor) -> Tensor:
        """The network's output without sight of the library size."""
        return self.network(z, *context[:-1])
