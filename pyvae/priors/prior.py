"""The base class of priors."""

from pyro.distributions import Distribution
from torch import Tensor, nn

__all__ = ["Prior"]


class Prior(nn.Module):
    """A prior p(z) or p(z | c): a module that is called with the context and returns a distribution.

    The batch shape is () or that of the context; the event shape is that of z. Any ``nn.Module`` with this call is a
    prior; this class gives the command line a name for the kind.
    """

    def forward(self, *context: Tensor) -> Distribution:
        """The distribution of z, given context vectors of shape (…, context_dim)."""
        raise NotImplementedError
