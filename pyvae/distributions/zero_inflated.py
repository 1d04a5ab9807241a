"""Distributions with more zeros."""

import pyro.distributions as dist
from torch import Tensor

__all__ = ["ZeroInflated"]


class ZeroInflated(dist.ZeroInflatedDistribution):
    r"""A distribution whose elements may also be zero for another reason, with probability π.

    .. math:: p(x) = \pi \, [x = 0] + (1 - \pi) \, p_0(x)

    Pyro's, by the logits of π alone: that one keeps π as well once it has drawn, and then cannot be expanded, and its
    density differs in the last digits.

    Args:
        base_dist: p_0, of single counts.
        gate_logits: the logits of π.

    Example:
        >>> import torch
        >>> p = ZeroInflated(dist.Poisson(torch.ones(3)), gate_logits=torch.zeros(3))
        >>> _ = p.sample()
        >>> p.expand((2, 3)).log_prob(torch.zeros(3)).exp()[0, 0]
        tensor(0.6839)
    """

    @property
    def gate(self) -> Tensor:
        """The probability π."""
        return self.gate_logits.sigmoid()
