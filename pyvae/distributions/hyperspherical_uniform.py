"""The uniform distribution on the sphere."""

import math

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions import constraints as pyro_constraints
from torch import Tensor

from pyvae.core.arguments import check_int

__all__ = ["HypersphericalUniform", "log_area"]


def log_area(dim: int) -> float:
    """The log area of the unit sphere in d dimensions, log 2 π^{d/2} / Γ(d/2)."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


class HypersphericalUniform(TorchDistribution):
    r"""The uniform distribution on the unit sphere in d dimensions.

    .. math:: p(z) = \frac{\Gamma(d/2)}{2 \pi^{d/2}}, \qquad \|z\| = 1

    The density is with respect to the sphere's area.

    Args:
        dim: d, at least 2.
        like: a tensor on the device and of the dtype of the samples.
        batch_shape: () unless given.

    Raises:
        ArgumentError: if ``dim`` is below 2.
        ValueError: from ``log_prob``, for values that are no unit vectors, while Pyro's validation is on.

    Example:
        >>> p = HypersphericalUniform(3, torch.zeros(()))
        >>> bool(p.log_prob(p.sample()).exp().isclose(torch.tensor(1 / (4 * math.pi))))
        True
    """

    arg_constraints: dict = {}  # noqa: RUF012 (as torch has it)
    support = pyro_constraints.sphere
    has_rsample = True  # samples depend on no parameter

    def __init__(
        self,
        dim: int,
        like: Tensor,
        batch_shape: torch.Size = torch.Size(),  # noqa: B008
        validate_args: bool | None = None,
    ) -> None:
        check_int("dim", dim, 2)
        self.dim, self.like = dim, like
        super().__init__(torch.Size(batch_shape), torch.Size([dim]), validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "HypersphericalUniform":
        """The same distribution, expanded to a larger batch."""
        return HypersphericalUniform(self.dim, self.like, batch_shape, validate_args=self._validate_args)

    @property
    def mean(self) -> Tensor:
        """The origin."""
        return self.like.new_zeros(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate, 1/d."""
        return self.like.new_full(self.batch_shape + self.event_shape, 1 / self.dim)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples: directions of standard normal vectors."""
        shape = self._extended_shape(sample_shape)
        return torch.nn.functional.normalize(torch.randn(shape, dtype=self.like.dtype, device=self.like.device), dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, minus the log area everywhere on the sphere."""
        if self._validate_args:
            self._validate_sample(value)
        shape = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return self.like.new_full(shape, -log_area(self.dim))

    def entropy(self) -> Tensor:
        """The log of the area."""
        return self.like.new_full(self.batch_shape, log_area(self.dim))
