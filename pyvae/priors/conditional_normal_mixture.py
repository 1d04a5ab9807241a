"""A mixture of normals that comes from the context."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.components import ParametrizedByNetwork
from pyvae.core.arguments import check_int
from pyvae.priors.prior import Prior

__all__ = ["ConditionalNormalMixture"]


class ConditionalNormalMixture(ParametrizedByNetwork, Prior):
    r"""A mixture of diagonal normals whose parameters come from the context.

    .. math:: p(z \mid c) = \sum_k \pi_k(c) \, \mathcal N(z; \mu_k(c), \operatorname{diag} \sigma_k(c)^2), \qquad
        (\log \pi, \mu, \log \sigma^2) = f(c)

    log π is up to a constant.

    The components differ because the network's initialization is random. The KL divergence from a normal
    has no closed form: objectives estimate it by Monte Carlo.

    Args:
        network: f, from the context to a vector of length K + 2 K d: K logits, then the means of all components, then
            their log-variances; d is the number of elements of z.
        event_shape: shape of z.
        num_components: K.

    Raises:
        ArgumentError: if ``event_shape`` or ``num_components`` is not positive.
        PairError: when called, if the network's output has another shape.

    References:
        Bishop, *Mixture density networks*, 1994, section 3.

    Example:
        >>> prior = ConditionalNormalMixture(nn.Linear(10, 15), event_shape=2, num_components=3)
        >>> prior(torch.zeros(7, 10)).sample().shape
        torch.Size([7, 2])
    """

    def __init__(self, network: nn.Module, event_shape: int | Sequence[int], num_components: int = 10) -> None:
        super().__init__(network, event_shape)
        check_int("num_components", num_components)
        self.num_components = num_components

    @property
    def output_shape(self) -> torch.Size:
        """The shape of logits, means and log-variances."""
        return torch.Size([self.num_components * (1 + 2 * self.event_shape.numel())])

    def extra_repr(self) -> str:
        """The event shape and the number of components."""
        return f"{super().extra_repr()}, num_components={self.num_components}"

    def forward(self, *context: Tensor) -> dist.Distribution:
        """The mixture, with the context's batch shape."""
        output = self.output(*context)
        each = self.num_components * self.event_shape.numel()
        logits, *parameters = output.split([self.num_components, each, each], -1)
        loc, log_variance = (p.unflatten(-1, (self.num_components, *self.event_shape)) for p in parameters)
        components = dist.Normal(loc, (log_variance / 2).exp()).to_event(len(self.event_shape))
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)
