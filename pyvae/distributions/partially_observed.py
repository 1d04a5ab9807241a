"""A distribution of values of which some are missing."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyvae.distributions.wrapper import Wrapper
from pyvae.errors import PairError

__all__ = ["PartiallyObserved"]


class _OrMissing(constraints.Constraint):
    """What a constraint allows, and NaN."""

    def __init__(self, base: constraints.Constraint) -> None:
        self.base = base
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return self.base.check(value) | value.isnan()

    def __repr__(self) -> str:
        return f"{self.base}, or NaN where it is missing"


class PartiallyObserved(Wrapper):
    r"""A distribution of independent elements of which some are missing: NaN counts as unobserved.

    .. math:: \log p(x) = \sum_{i \text{ observed}} \log p(x_i)

    An element that is NaN contributes 0 to the log density. Samples are complete.

    With independent elements this is the density of what was observed, all else integrated out.

    Args:
        base_dist: p, a distribution of single elements, which the batch dimensions number.

    Raises:
        PairError: if p is one of vectors or other events, whose elements depend on each other.

    Example:
        >>> import pyro
        >>> p = PartiallyObserved(pyro.distributions.Normal(torch.zeros(2), 1.0)).to_event(1)
        >>> p.log_prob(torch.tensor([1.0, torch.nan]))
        tensor(-1.4189)
    """

    def __init__(self, base_dist: TorchDistribution) -> None:
        if base_dist.event_shape:
            raise PairError(
                f"a {type(base_dist).__name__} has event shape {tuple(base_dist.event_shape)}; values can be missing "
                "of distributions whose elements are independent: Normal(loc, scale).to_event(1)"
            )
        super().__init__(base_dist, base_dist.batch_shape)
        self._validate_args = base_dist._validate_args

    @property
    def support(self) -> constraints.Constraint:
        """The support of the base, and NaN."""
        return _OrMissing(self.base_dist.support)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "PartiallyObserved":
        """The same distribution, expanded to a larger batch."""
        return PartiallyObserved(self.base_dist.expand(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density of each element, 0 where it is NaN."""
        missing = value.isnan()
        # a number of the support in its place, for the gradient of what is not used must be finite, too
        filler = torch.zeros((), dtype=value.dtype, device=value.device)
        support = self.base_dist.support
        filler = torch.where(support.check(filler), filler, torch.ones_like(filler))
        log_prob = self.base_dist.log_prob(torch.where(missing, filler, value))
        return torch.where(missing, torch.zeros_like(log_prob), log_prob)
