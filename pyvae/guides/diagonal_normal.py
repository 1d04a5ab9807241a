"""The diagonal normal guide."""

import pyro.distributions as dist
from torch import Tensor

from pyvae.components import NormalParametrizedByNetwork
from pyvae.guides.guide import Guide

__all__ = ["DiagonalNormal"]


class DiagonalNormal(NormalParametrizedByNetwork, Guide):
    r"""A diagonal normal guide, with means and log-variances from an encoder.

    .. math:: q(z \mid x) = \mathcal N(z; \mu(x, c), \operatorname{diag} \sigma(x, c)^2), \qquad
        (\mu, \log \sigma^2) = f(x, c)

    Samples are reparametrized: z = μ + σ ε with ε ~ N(0, I), σ being the standard deviation.

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
        >>> guide = DiagonalNormal(torch.nn.Linear(5, 4), event_shape=2)
        >>> guide(torch.zeros(3, 5)).rsample().shape
        torch.Size([3, 2])
    """

    def forward(self, x: Tensor, *context: Tensor) -> dist.Distribution:
        """The distribution N(μ, diag σ²), with x's batch shape."""
        return self.normal(x, *context)
