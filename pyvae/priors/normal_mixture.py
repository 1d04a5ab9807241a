"""A learned mixture of normals as the prior."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_int
from pyvae.networks.shapes import as_shape
from pyvae.priors.prior import Prior

__all__ = ["NormalMixture"]


class NormalMixture(Prior):
    r"""A learned mixture of diagonal normals as the prior, whatever the context.

    .. math:: p(z) = \sum_k \pi_k \, \mathcal N(z; \mu_k, \operatorname{diag} \sigma_k^2)

    The means start as samples from N(0, I), so that the components differ; the scales start at 1. The KL divergence
    from a normal has no closed form: objectives estimate it by Monte Carlo.

    Args:
        event_shape: shape of z.
        num_components: the number K of components.

    Raises:
        ArgumentError: if ``event_shape`` or ``num_components`` is not positive.

    References:
        Dilokthanakul et al., *Deep unsupervised clustering with Gaussian mixture variational autoencoders*, 2016.

    Example:
        >>> NormalMixture(2, num_components=5)().sample((3,)).shape
        torch.Size([3, 2])
    """

    def __init__(self, event_shape: int | Sequence[int], num_components: int = 10) -> None:
        super().__init__()
        self.event_shape = as_shape(event_shape)
        check_int("num_components", num_components)
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(torch.randn(num_components, *self.event_shape))
        self.log_scale = nn.Parameter(torch.zeros(num_components, *self.event_shape))

    def extra_repr(self) -> str:
        """The event shape."""
        return f"event_shape={tuple(self.event_shape)}"

    def forward(self, *context: Tensor) -> dist.Distribution:
        """The mixture, with batch shape ()."""
        components = dist.Normal(self.loc, self.log_scale.exp()).to_event(len(self.event_shape))
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), components)
