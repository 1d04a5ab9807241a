"""What distributions share that change the density of another, and not its draws."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["Wrapper"]


class Wrapper(TorchDistribution):
    """A distribution with the draws, the moments and the support of another, ``base_dist``."""

    arg_constraints: dict = {}  # noqa: RUF012 (as torch has it)

    def __init__(self, base_dist: TorchDistribution, batch_shape: torch.Size) -> None:
        self.base_dist = base_dist
        super().__init__(batch_shape, base_dist.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:
        """As of the base."""
        return self.base_dist.has_rsample

    @property
    def support(self) -> constraints.Constraint:
        """As of the base."""
        return self.base_dist.support

    @property
    def mean(self) -> Tensor:
        """As of the base."""
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        """As of the base."""
        return self.base_dist.variance

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of the base."""
        return self.base_dist.expand(self.batch_shape).sample(sample_shape)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Reparametrized draws of the base."""
        return self.base_dist.expand(self.batch_shape).rsample(sample_shape)
