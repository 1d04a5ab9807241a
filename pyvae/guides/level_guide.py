"""What a level of a top-down guide is."""

from pyro.distributions import Distribution
from torch import Tensor

from pyvae.components import ParametrizedByNetwork

__all__ = ["LevelGuide"]


class LevelGuide(ParametrizedByNetwork):
    """q(z_t | z_{t−1}, x): a module called with features of x and the model's p(z_t | z_{t−1}); gives a distribution.

    What z_{t−1} is, it learns from p alone. The batch shape is that of features and p; the event shape is that of
    z_t. Any ``nn.Module`` with this call will do; this class keeps what ours share.

    Args:
        network: a network of d, or of d and moments of p.
        event_shape: shape of z_t.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.
    """

    #: numbers that the network is given of the model's p per element of z, stacked along the event's first dimension
    moments_per_element: int = 0

    def forward(self, d: Tensor, p: Distribution) -> Distribution:
        """The distribution of z_t given features d of shape (…, event of d) and the model's p."""
        raise NotImplementedError
