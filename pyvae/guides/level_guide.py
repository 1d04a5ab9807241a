"""The base class of the levels of a top-down guide."""

from pyro.distributions import Distribution
from torch import Tensor

from pyvae.components import ParametrizedByNetwork

__all__ = ["LevelGuide"]


class LevelGuide(ParametrizedByNetwork):
    """A level q(z_t | z_{t−1}, x) of a top-down guide: called with features of x and the model's p(z_t | z_{t−1}).

    It returns a distribution, and knows z_{t−1} through p alone. The batch shape is that of features and p; the event
    shape is that of z_t. Any ``nn.Module`` with this call will do; this class holds their common code.

    Args:
        network: a network of d, or of d and moments of p.
        event_shape: shape of z_t.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.
    """

    #: how many moments of p the network receives per element of z, stacked along the event's first dimension
    moments_per_element: int = 0

    def forward(self, d: Tensor, p: Distribution) -> Distribution:
        """The distribution of z_t given features d of shape (…, event of d) and the model's p."""
        raise NotImplementedError
