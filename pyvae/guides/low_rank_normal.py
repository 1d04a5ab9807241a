"""The normal guide whose covariance is a diagonal plus a matrix of low rank."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae.components import ParametrizedByNetwork
from pyvae.core.arguments import check_int
from pyvae.distributions import LowRankMultivariateNormal
from pyvae.distributions.vectors import vector_length
from pyvae.guides.guide import Guide

__all__ = ["LowRankNormal"]


class LowRankNormal(ParametrizedByNetwork, Guide):
    r"""A normal guide whose covariance is a diagonal plus a matrix of low rank.

    .. math:: q(z \mid x) = \mathcal N(z; \mu, W W^\top + \operatorname{diag} v), \qquad (\mu, \log v, W) = f(x, c)

    W has r columns.

    Between :class:`DiagonalNormal` and :class:`FullRankNormal`, for z too long for a full covariance: the encoder has
    (2 + r) d outputs. Samples are reparametrized: z = μ + W ε + v^½ η with ε, η ~ N(0, I). The KL divergence from a
    diagonal normal has a closed form.

    Args:
        network: the encoder f, called as ``network(x, *context)``, to vectors of length (2 + r) d: the means, the
            logarithms of v, and W row by row.
        event_shape: the length d of z.
        rank: r.

    Raises:
        ArgumentError: if ``event_shape`` is not that of a vector, or ``rank`` is not positive.
        PairError: when called, if the network's output has another shape.

    References:
        Rezende, Mohamed and Wierstra, *Stochastic backpropagation and approximate inference in deep generative
        models*, 2014, whose precision is of this form, with r = 1.

    Example:
        >>> guide = LowRankNormal(nn.Linear(5, 12), event_shape=3, rank=2)
        >>> guide(torch.zeros(4, 5)).covariance_matrix.shape
        torch.Size([4, 3, 3])
    """

    def __init__(self, network: nn.Module, event_shape: int | Sequence[int], rank: int = 2) -> None:
        super().__init__(network, event_shape)
        vector_length(event_shape)
        check_int("rank", rank)
        self.rank = rank

    @property
    def output_shape(self) -> torch.Size:
        """The shape of means, log-variances and the factor."""
        return torch.Size([(2 + self.rank) * self.event_shape[0]])

    def extra_repr(self) -> str:
        """The event shape and the rank."""
        return f"{super().extra_repr()}, rank={self.rank}"

    def forward(self, x: Tensor, *context: Tensor) -> LowRankMultivariateNormal:
        """The distribution N(μ, W Wᵀ + diag v), with x's batch shape."""
        (d,) = self.event_shape
        output = self.output(x, *context)
        loc, log_diagonal, factor = output.split([d, d, self.rank * d], -1)
        return LowRankMultivariateNormal(loc, factor.unflatten(-1, (d, self.rank)), log_diagonal.exp())
