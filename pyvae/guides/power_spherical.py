"""The power spherical guide, for latents that are directions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae import distributions
from pyvae.components import ParametrizedByNetwork
from pyvae.distributions.vectors import vector_length
from pyvae.guides.guide import Guide

__all__ = ["PowerSpherical"]


class PowerSpherical(ParametrizedByNetwork, Guide):
    r"""The power spherical guide, for latents on the unit sphere.

    .. math:: q(z \mid x) \propto (1 + \mu(x, c)^\top z)^{\kappa(x, c)}, \qquad
        \mu = m / \|m\|, \qquad (m, \log \kappa) = f(x, c)

    With the prior :class:`~pyvae.priors.HypersphericalUniform`, latents have no origin to shrink to, and the KL
    divergence, in closed form, is a function of κ alone. Samples are reparametrized.

    Args:
        network: the encoder f, called as ``network(x, *context)``, to vectors of length d + 1: the mean direction,
            then the logarithm of the concentration.
        event_shape: the length d of z, at least 2.

    Raises:
        ArgumentError: if ``event_shape`` is not that of such a vector.
        PairError: when called, if the network's output has another shape.

    References:
        De Cao and Aziz, *The power spherical distribution*, 2020; Davidson et al., *Hyperspherical
        variational auto-encoders*, 2018, section 3.

    Example:
        >>> guide = PowerSpherical(nn.Linear(5, 4), event_shape=3)
        >>> guide(torch.zeros(7, 5)).rsample().norm(dim=-1).shape
        torch.Size([7])
    """

    def __init__(self, network: nn.Module, event_shape: int | Sequence[int]) -> None:
        super().__init__(network, event_shape)
        vector_length(event_shape, 2)

    @property
    def output_shape(self) -> torch.Size:
        """The shape of the mean direction and the log-concentration."""
        return torch.Size([self.event_shape[0] + 1])

    def forward(self, x: Tensor, *context: Tensor) -> distributions.PowerSpherical:
        """The power spherical distribution, with x's batch shape."""
        output = self.output(x, *context)
        loc = torch.nn.functional.normalize(output[..., :-1], dim=-1)
        return distributions.PowerSpherical(loc, output[..., -1].exp())
