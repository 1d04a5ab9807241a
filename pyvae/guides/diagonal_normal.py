"""The diagonal normal guide."""

import pyro.distributions as dist
import torch
from torch import Tensor

from pyvae.guides.guide import Guide
from pyvae.networks.shapes import OverNetwork, call_location_scale, doubled

__all__ = ["DiagonalNormal"]


class DiagonalNormal(OverNetwork, Guide):
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
        >>> guide = DiagonalNormal(torch.nn.Linear(5, 4), event_shape=2)
        >>> guide(torch.zeros(3, 5)).rsample().shape
        torch.Size([3, 2])
    """

    @property
    def output_shape(self) -> torch.Size:
        """Means, then log-variances."""
        return doubled(self.event_shape)

    def forward(self, x: Tensor, *context: Tensor) -> dist.Distribution:
        """N(μ, diag σ²), with x's batch shape."""
        loc, scale = call_location_scale(self.network, x, *context, shape=self.event_shape)
        return dist.Normal(loc, scale).to_event(len(self.event_shape))
