"""The negative binomial likelihood."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.likelihoods.counts import Counts

__all__ = ["NegativeBinomial"]


class NegativeBinomial(Counts):
    r"""The negative binomial likelihood, for overdispersed counts.

    .. math:: p(x \mid z) = \prod_i \frac{\Gamma(x_i + \theta_i)}{\Gamma(\theta_i) \, x_i!}
        \Bigl(\frac{\theta_i}{\theta_i + \mu_i}\Bigr)^{\theta_i} \Bigl(\frac{\mu_i}{\theta_i + \mu_i}\Bigr)^{x_i},
        \qquad \mu = \exp f(z, c)

    A Poisson distribution whose rate is drawn from a gamma distribution of mean μ and shape θ, so that
    the variance is μ + μ²/θ. The inverse dispersions θ, one for each element of x, are learned and
    start at 1. With a library size l, the expected total, μ = l softmax(f(z, c)) over all elements of x.

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x.
        event_shape: shape of x.
        library: whether the last entry of the context vectors is log l; f is called with all of them.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints; when called, if there is no context although
            ``library`` is true.
        PairError: when called, if the network's output has another shape.

    References:
        Lopez, Regier, Cole, Jordan and Yosef, *Deep generative modeling for single-cell transcriptomics*, 2018.

    Example:
        >>> likelihood = NegativeBinomial(nn.Linear(2, 5), event_shape=5)
        >>> likelihood(torch.zeros(4, 2)).log_prob(torch.ones(4, 5)).shape
        torch.Size([4])
    """

    def __init__(self, network: nn.Module, event_shape: int | Sequence[int], library: bool = False) -> None:
        super().__init__(network, event_shape, library)
        self.log_theta = nn.Parameter(torch.zeros(self.event_shape))

    @property
    def theta(self) -> Tensor:
        """The inverse dispersions θ, of the shape of x."""
        return self.log_theta.exp()

    def forward(self, z: Tensor, *context: Tensor) -> dist.Distribution:
        """The distribution NegativeBinomial(μ, θ), with z's batch shape."""
        logits = self.log_mean(z, *context) - self.log_theta
        return dist.NegativeBinomial(self.theta, logits=logits).to_event(len(self.event_shape))
