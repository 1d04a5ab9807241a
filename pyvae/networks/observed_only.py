"""Incomplete data as input of networks that know nothing of missing values."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae.networks.shapes import as_shape, check_event

__all__ = ["ObservedOnly"]


class ObservedOnly(nn.Module):
    r"""A wrapper that gives a network incomplete data: missing values as zeros, with the mask of what is observed.

    .. math:: f(\tilde x, m), \qquad (\tilde x_i, m_i) = (x_i, 1) \text{ where observed, } (0, 0) \text{ where NaN}

    The two are joined along the first dimension.

    Args:
        network: f, from the event of x with its first dimension doubled, and the context.
        event_shape: shape of x.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints; when called, if x has another shape.

    References:
        Mattei and Frellsen, *MIWAE*, 2019, section 2 (zeros); Collier, Nazabal and Williams, *VAEs in the presence of
        missing data*, 2020, section 3 (the mask).

    Example:
        >>> network = ObservedOnly(nn.Linear(6, 4), event_shape=3)
        >>> bool(network(torch.tensor([[1.0, torch.nan, 2.0]])).isfinite().all())
        True
    """

    def __init__(self, network: nn.Module, event_shape: int | Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.event_shape = as_shape(event_shape)

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """The network's output given the values that are not NaN."""
        check_event(self, x, self.event_shape)
        observed = ~x.isnan()
        return self.network(
            torch.cat([torch.where(observed, x, 0.0), observed.to(x.dtype)], -len(self.event_shape)), *context
        )
