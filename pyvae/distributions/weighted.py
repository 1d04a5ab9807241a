"""A distribution whose density counts more than once, or not at all."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import kl_divergence, register_kl

__all__ = ["Weighted"]


class Weighted(TorchDistribution):
    r"""log p_w(x) = w log p(x): draws are those of p, densities are weighted; **not normalized** unless w = 1.

    With weights that are 1 on average, a term of the ELBO that only some data compute stands for that of all: an
    estimate without bias. Unlike ``poutine.scale``, which is about the training (mini-batches, annealing) and which
    evaluations ignore, the weight is part of what is estimated. A weight of 0 needs log p(x) to be finite.

    KL(p_w ‖ r_w) = w KL(p ‖ r); for other weights of r it is NaN.

    Args:
        base_dist: p.
        weight: w, not negative, of the batch shape of p or one that broadcasts with it.

    Example:
        >>> import pyro
        >>> p = pyro.distributions.Normal(torch.zeros(2), 1.0)
        >>> Weighted(p, torch.tensor([0.0, 3.0])).log_prob(torch.zeros(2))
        tensor([-0.0000, -2.7568])
    """

    arg_constraints: dict = {}  # noqa: RUF012 (as torch has it)

    def __init__(self, base_dist: TorchDistribution, weight: Tensor) -> None:
        self.base_dist = base_dist
        self.weight = weight
        shape = torch.broadcast_shapes(base_dist.batch_shape, weight.shape)
        super().__init__(shape, base_dist.event_shape, validate_args=False)  # the base validates what it is given

    @property
    def has_rsample(self) -> bool:
        """As of the base."""
        return self.base_dist.has_rsample

    @property
    def support(self) -> torch.distributions.constraints.Constraint:
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

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Weighted":
        """The same for a larger batch."""
        return Weighted(self.base_dist.expand(batch_shape), self.weight)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws of the base."""
        return self.base_dist.expand(self.batch_shape).sample(sample_shape)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Reparametrized draws of the base."""
        return self.base_dist.expand(self.batch_shape).rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """w log p(value)."""
        return self.weight * self.base_dist.log_prob(value)


@register_kl(Weighted, Weighted)
def _kl(p: Weighted, r: Weighted) -> Tensor:
    # of densities that are weighted differently there is none; not to decide by values lets the KL be traced
    return torch.where(p.weight == r.weight, p.weight * kl_divergence(p.base_dist, r.base_dist), torch.nan)
