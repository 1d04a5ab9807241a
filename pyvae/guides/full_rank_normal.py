"""The normal guide with a full covariance."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae.components import ParametrizedByNetwork
from pyvae.distributions import MultivariateNormal
from pyvae.distributions.vectors import vector_length
from pyvae.guides.guide import Guide

__all__ = ["FullRankNormal"]


class FullRankNormal(ParametrizedByNetwork, Guide):
    r"""A normal guide with a full covariance matrix.

    .. math:: q(z \mid x) = \mathcal N(z; \mu, L L^\top), \qquad
        (\mu, \log \operatorname{diag} L, L \text{ below its diagonal}) = f(x, c)

    Latents that explain one another away are correlated under p(z | x), which a diagonal normal cannot follow. Samples
    are reparametrized: z = μ + L ε with ε ~ N(0, I). The KL divergence from a diagonal normal has a closed form.

    Args:
        network: the encoder f, called as ``network(x, *context)``, to vectors of length d + d (d + 1) / 2: the means,
            the logarithms of the diagonal of L, and what is below it, row by row.
        event_shape: the length d of z.

    Raises:
        ArgumentError: if ``event_shape`` is not that of a vector.
        PairError: when called, if the network's output has another shape.

    References:
        Kingma and Welling, *An introduction to variational autoencoders*, 2019, section 2.5.1.

    Example:
        >>> guide = FullRankNormal(nn.Linear(5, 9), event_shape=3)
        >>> guide(torch.zeros(4, 5)).covariance_matrix.shape
        torch.Size([4, 3, 3])
    """

    def __init__(self, network: nn.Module, event_shape: int | Sequence[int]) -> None:
        super().__init__(network, event_shape)
        vector_length(event_shape)

    @property
    def output_shape(self) -> torch.Size:
        """The shape of means, the log-diagonal and the part below the diagonal."""
        (d,) = self.event_shape
        return torch.Size([d + d * (d + 1) // 2])

    def forward(self, x: Tensor, *context: Tensor) -> MultivariateNormal:
        """The distribution N(μ, L Lᵀ), with x's batch shape."""
        (d,) = self.event_shape
        output = self.output(x, *context)
        loc, log_diagonal, below = output.split([d, d, d * (d - 1) // 2], -1)
        rows, columns = torch.tril_indices(d, d, -1, device=output.device)
        scale_tril = log_diagonal.exp().diag_embed()
        # scattered into zeros, not assigned to elements, so that it can be traced and differentiated twice
        places = (rows * d + columns).expand(below.shape)
        lower = torch.zeros_like(scale_tril).flatten(-2).scatter(-1, places, below).unflatten(-1, (d, d))
        return MultivariateNormal(loc, scale_tril=scale_tril + lower)
