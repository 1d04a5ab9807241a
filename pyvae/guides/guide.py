"""The base class of amortized guides."""

from pyro.distributions import Distribution
from torch import Tensor, nn

__all__ = ["Guide"]


class Guide(nn.Module):
    """A guide q(z | x) or q(z | x, c): a module called with x and the context that returns a distribution.

    The batch shape is that of x; the event shape is that of z. Any ``nn.Module`` with this call is a guide; this
    class gives the command line a name for the kind.
    """

    def forward(self, x: Tensor, *context: Tensor) -> Distribution:
        """The distribution of z given x of shape (…, event of x) and context vectors (…, context_dim)."""
        raise NotImplementedError
