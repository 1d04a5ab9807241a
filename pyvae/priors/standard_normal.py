"""The standard normal prior."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor

from pyvae.networks.shapes import as_shape
from pyvae.priors.prior import Prior

__all__ = ["StandardNormal"]


class StandardNormal(Prior):
    r"""The standard normal prior, whatever the context.

    .. math:: p(z) = \mathcal N(z; 0, I)

    Args:
        event_shape: shape of z.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.

    Example:
        >>> StandardNormal(2)().event_shape
        torch.Size([2])
    """

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(as_shape(event_shape)), persistent=False)

    def extra_repr(self) -> str:
        """The event shape."""
        return f"event_shape={tuple(self.loc.shape)}"

    def forward(self, *context: Tensor) -> dist.Distribution:
        """The distribution N(0, I), with batch shape ()."""
        return dist.Normal(self.loc, torch.ones_like(self.loc)).to_event(self.loc.dim())
