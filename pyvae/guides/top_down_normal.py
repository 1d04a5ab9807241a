"""A level of a top-down guide that sees the model's prediction."""

import pyro.distributions as dist
import torch
from torch import Tensor

from pyvae.components import NormalParametrizedByNetwork
from pyvae.guides.level_guide import LevelGuide

__all__ = ["TopDownNormal"]


class TopDownNormal(NormalParametrizedByNetwork, LevelGuide):
    r"""A level of a top-down guide: a diagonal normal whose network sees the model's prediction.

    .. math:: q(z \mid d, p) = \mathcal N(z; \mu, \operatorname{diag} \sigma^2), \qquad
        (\mu, \log \sigma^2) = f(d, (\mu_p, \log \sigma_p))

    μ_p and σ_p are the mean and scale of the model's p.

    The level shares the model's transition by reading its prediction, and may use it in any way. It trains
    faster than :class:`PrecisionWeighted`, which knows Bayes' rule but starts wide.

    Args:
        network: f, called as ``network(d, moments)``, the moments being stacked along the first dimension of the
            event; its output has the shape of z with the first dimension doubled: means, then log-variances.
        event_shape: shape of z.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.
        PairError: when called, if the network's output has another shape.

    References:
        Kingma et al., *Improved variational inference with inverse autoregressive flow*, 2016, appendix C (top-down
        inference); Vahdat and Kautz, *NVAE*, 2020, section 3.

    Example:
        >>> from pyvae.networks import MLP
        >>> guide = TopDownNormal(MLP(5, 4, context_dim=4), event_shape=2)
        >>> guide(torch.zeros(3, 5), dist.Normal(torch.zeros(3, 2), 1.0).to_event(1)).batch_shape
        torch.Size([3])
    """

    moments_per_element = 2

    def forward(self, d: Tensor, p: dist.Distribution) -> dist.Distribution:
        """The distribution N(μ, diag σ²), with the batch shape of d and p."""
        moments = torch.cat([p.mean, p.stddev.log()], -len(self.event_shape))
        return self.normal(d, moments)
