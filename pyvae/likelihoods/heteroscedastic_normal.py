"""The normal likelihood whose scale comes from the network."""

import pyro.distributions as dist
from torch import Tensor

from pyvae.components import NormalParametrizedByNetwork
from pyvae.datasets import Kind
from pyvae.likelihoods.likelihood import Likelihood

__all__ = ["HeteroscedasticNormal"]


class HeteroscedasticNormal(NormalParametrizedByNetwork, Likelihood):
    r"""A diagonal normal likelihood whose scale comes from the network.

    .. math:: p(x \mid z) = \mathcal N(x; \mu(z, c), \operatorname{diag} \sigma(z, c)^2), \qquad
        (\mu, \log \sigma^2) = f(z, c)

    This likelihood is unbounded: where f fits some x_i exactly, σ_i → 0 and log p → ∞. It needs noisy data
    (dequantize images first).

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x with the first dimension
            doubled: means, then log-variances.
        event_shape: shape of x.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.
        PairError: when called, if the network's output has another shape.

    References:
        Kingma and Welling, *Auto-encoding variational Bayes*, 2014, appendix C.2.

    Example:
        >>> import torch
        >>> likelihood = HeteroscedasticNormal(torch.nn.Linear(2, 10), event_shape=5)
        >>> likelihood(torch.zeros(4, 2)).event_shape
        torch.Size([5])
    """

    values = Kind.REALS

    def forward(self, z: Tensor, *context: Tensor) -> dist.Distribution:
        """The distribution N(μ, diag σ²), with z's batch shape."""
        return self.normal(z, *context)
