"""The base of distributions that change the density of another, but not its samples."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["Wrapper"]


class Wrapper(TorchDistribution):
    """A distribution with the samples, the moments and the support of another, ``base_dist``."""

    arg_constraints: dict = {}  # noqa: RUF012 (as torch has it)

    def __init__(self, base_dist: TorchDistribution, batch_shape: torch.Size) -> None:
        self.base_dist = base_dist
        super().__init__(batch_shape, base_dist.event_shape, validate_args=False)

    @property
    def has_rsample(self) -> bool:
        """Whether samples are reparametrized, as the base's."""
        return self.base_dist.has_rsample

    @property
    def support(self) -> constraints.Constraint:
        """The support of the base."""
        return self.base_dist.support

    @property
    def mean(self) -> Tensor:
        """The mean of the base."""
        return self.base_dist.mean

    @property
    def variance(self) -> Tensor:
        """The variance of the base."""
        return self.base_dist.variance

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples of the base."""
        return self.base_dist.expand(self.batch_shape).sample(sample_shape)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Reparametrized samples of the base."""
        return self.base_dist.expand(self.batch_shape).rsample(sample_shape)
