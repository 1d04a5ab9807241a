"""The diagonal normal guide."""

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from pyvae.guides.guide import Guide
from pyvae.networks.shapes import as_shape, call_location_scale

__all__ = ["DiagonalNormal"]


class DiagonalNormal(Guide):
    r"""q(z | x) = N(z; μ(x, c), diag σ(x, c)²), with (μ, log σ²) = f(x, c).

    Draws are reparametrized: z = μ + σ ε with ε ~ N(0, I), σ being the standard deviation.

    Args:
        network: the encoder f, called as ``network(x, *context)``; its output has the shape of z with the first
            dimension doubled: means, then log-variances.
        event_shape: shape of z.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.
        PairError: when called, if the network's output has another shape.

    References:
        Kingma and Welling, *Auto-encoding variational Bayes*, 2014, equations 9 and 10.

    Example:
        >>> import torch
        >>> guide = DiagonalNormal(nn.Linear(5, 4), event_shape=2)
        >>> guide(torch.zeros(3, 5)).rsample().shape
        torch.Size([3, 2])
    """

    def __init__(self, network: nn.Module, event_shape: int | Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.event_shape = as_shape(event_shape)

    def extra_repr(self) -> str:
        """The event shape."""
        return f"event_shape={tuple(self.event_shape)}"

    def forward(self, x: Tensor, *context: Tensor) -> dist.Distribution:
        """N(μ, diag σ²), with x's batch shape."""
        loc, scale = call_location_scale(self.network, x, *context, shape=self.event_shape)
        return dist.Normal(loc, scale).to_event(len(self.event_shape))
