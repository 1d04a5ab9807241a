"""A level of a top-down guide that corrects the model's own prediction."""

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional as F

from pyvae.components import NormalParametrizedByNetwork, call_location_log_variance
from pyvae.guides.level_guide import LevelGuide

__all__ = ["PrecisionWeighted"]


class PrecisionWeighted(NormalParametrizedByNetwork, LevelGuide):
    r"""A level of a top-down guide: the product of the model's prediction and a normal factor of the data.

    .. math:: q(z \mid d, p) = \mathcal N(z; \mu, \operatorname{diag} \sigma^2), \qquad
        \sigma^{-2} = \sigma_p^{-2} + \hat\sigma(d)^{-2}, \qquad
        \mu = \sigma^2 (\mu_p \sigma_p^{-2} + \hat\mu(d) \hat\sigma(d)^{-2})

    The product of the model's p = N(μ_p, diag σ_p²) and of a normal factor (μ̂, log σ̂²) = f(d), as Bayes' rule
    multiplies a prior with a likelihood. Where f is uninformative, σ̂ → ∞, q is p and costs no nats. If p is not
    normal, its mean and variance are used.

    Args:
        network: f, from d to the shape of z with its first dimension doubled: means, then log-variances.
        event_shape: shape of z.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.
        PairError: when called, if the network's output has another shape.

    References:
        Sønderby et al., *Ladder variational autoencoders*, 2016, equations 11 and 12.

    Example:
        >>> guide = PrecisionWeighted(torch.nn.Linear(5, 4), event_shape=2)
        >>> p = dist.Normal(torch.zeros(3, 2), 1.0).to_event(1)
        >>> bool((guide(torch.zeros(3, 5), p).stddev < p.stddev).all())
        True
    """

    def forward(self, d: Tensor, p: dist.Distribution) -> dist.Distribution:
        """The distribution N(μ, diag σ²), with the batch shape of d and p."""
        loc, log_variance = call_location_log_variance(self.network, d, shape=self.event_shape)
        # in logarithms: precisions overflow, and their gradients before them
        prior = 2 * p.stddev.log()
        mean = p.mean + torch.sigmoid(prior - log_variance) * (loc - p.mean)
        scale = ((prior + F.logsigmoid(log_variance - prior)) / 2).exp()
        return dist.Normal(mean, scale).to_event(len(self.event_shape))
