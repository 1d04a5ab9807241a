"""The negative binomial likelihood with more zeros."""

import pyro.distributions as dist
import torch
from torch import Tensor

from pyvae.distributions import ZeroInflated
from pyvae.likelihoods.negative_binomial import NegativeBinomial
from pyvae.networks.shapes import doubled

__all__ = ["ZeroInflatedNegativeBinomial"]


class ZeroInflatedNegativeBinomial(NegativeBinomial):
    r"""The negative binomial likelihood whose elements may also be zero for another reason, such as a missed molecule.

    .. math:: p(x_i \mid z) = \pi_i \, [x_i = 0] + (1 - \pi_i) \operatorname{NB}(x_i; \mu_i, \theta_i), \qquad
        (\log \mu, \operatorname{logit} \pi) = f(z, c)

    With a library size l, the first half of f gives shares, as of :class:`NegativeBinomial`.

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x with the first dimension doubled:
            what :class:`NegativeBinomial` needs, then the logits of π.
        event_shape: shape of x.
        library: whether the last entry of the context vectors is log l; f is called with all of them.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints; when called, if there is no context although
            ``library`` is true.
        PairError: when called, if the network's output has another shape.

    References:
        Lopez, Regier, Cole, Jordan and Yosef, *Deep generative modeling for single-cell transcriptomics*, 2018.

    Example:
        >>> likelihood = ZeroInflatedNegativeBinomial(torch.nn.Linear(2, 10), event_shape=5)
        >>> likelihood(torch.zeros(4, 2)).log_prob(torch.ones(4, 5)).shape
        torch.Size([4])
    """

    @property
    def output_shape(self) -> torch.Size:
        """The shape of log means or shares, then of the logits of π."""
        return doubled(self.event_shape)

    def forward(self, z: Tensor, *context: Tensor) -> dist.Distribution:
        """The zero-inflated distribution NegativeBinomial(μ, θ), with z's batch shape."""
        output, gate = self.checked_output(z, *context).chunk(2, -len(self.event_shape))
        logits = self.scaled(output, *context) - self.log_theta
        base = dist.NegativeBinomial(self.theta, logits=logits)
        return ZeroInflated(base, gate_logits=gate).to_event(len(self.event_shape))

    def log_mean(self, z: Tensor, *context: Tensor) -> Tensor:
        """The log mean of the negative binomial, without the zeros that are added."""
        output, _ = self.checked_output(z, *context).chunk(2, -len(self.event_shape))
        return self.scaled(output, *context)
