"""The normal prior whose mean and scale come from the context."""

import pyro.distributions as dist
from torch import Tensor

from pyvae.components import NormalParametrizedByNetwork
from pyvae.priors.prior import Prior

__all__ = ["ConditionalNormal"]


class ConditionalNormal(NormalParametrizedByNetwork, Prior):
    r"""A diagonal normal prior whose mean and scale come from the context.

    .. math:: p(z \mid c) = \mathcal N(z; \mu(c), \operatorname{diag} \sigma(c)^2), \qquad (\mu, \log \sigma^2) = f(c)

    Args:
        network: f, from the context to the shape of z with its first dimension doubled: means, then log-variances.
        event_shape: shape of z.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.
        PairError: when called, if the network's output has another shape.

    References:
        Sohn, Lee and Yan, *Learning structured output representation using deep conditional generative models*,
        2015, equation 4.

    Example:
        >>> import torch
        >>> prior = ConditionalNormal(torch.nn.Linear(10, 4), event_shape=2)
        >>> prior(torch.zeros(7, 10)).batch_shape
        torch.Size([7])
    """

    def forward(self, *context: Tensor) -> dist.Distribution:
        """The distribution N(μ(c), diag σ(c)²), with the context's batch shape."""
        return self.normal(*context)
