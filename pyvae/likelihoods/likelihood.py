"""The base class of likelihoods."""

from typing import ClassVar

from pyro.distributions import Distribution
from torch import Tensor

from pyvae.components import ParametrizedByNetwork
from pyvae.datasets import Kind

__all__ = ["Likelihood"]


class Likelihood(ParametrizedByNetwork):
    """A likelihood p(x | z) or p(x | z, c): a module called with z and the context that returns a distribution.

    The batch shape is that of z, any leading dimensions included; the event shape is that of x. Any ``nn.Module``
    with this call is a likelihood; this class holds their common code and gives the command line a name for the kind.

    Args:
        network: the decoder f, called as ``network(z, *context)``.
        event_shape: shape of x.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.
    """

    #: of what it is a distribution, by which the command line chooses a preprocessing; None does not say
    values: ClassVar[Kind | None] = None

    def forward(self, z: Tensor, *context: Tensor) -> Distribution:
        """The distribution of x given z of shape (…, event of z) and context vectors (…, context_dim)."""
        raise NotImplementedError
