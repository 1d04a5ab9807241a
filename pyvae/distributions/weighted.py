"""A distribution whose density counts more than once, or not at all."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import kl_divergence, register_kl

from pyvae.distributions.wrapper import Wrapper

__all__ = ["Weighted"]


class Weighted(Wrapper):
    r"""A distribution whose log density is multiplied by a weight; samples are unchanged.

    .. math:: \log p_w(x) = w \log p(x)

    The density is **not normalized** unless w = 1.

    With weights that are 1 on average, an ELBO term that only some datapoints compute stands for all of them: an
    unbiased estimate. Unlike ``poutine.scale``, which is about the training (mini-batches, annealing) and which
    evaluations ignore, the weight is part of what is estimated. A weight of 0 needs log p(x) to be finite.

    KL(p_w ‖ r_w) = w KL(p ‖ r); for other weights of r it is NaN.

    Args:
        base_dist: p.
        weight: w, not negative, of the batch shape of p or one that broadcasts with it.

    Raises:
        ValueError: if a weight is negative or NaN, while Pyro's validation is on.

    Example:
        >>> import pyro
        >>> p = pyro.distributions.Normal(torch.zeros(2), 1.0)
        >>> Weighted(p, torch.tensor([0.0, 3.0])).log_prob(torch.zeros(2))
        tensor([-0.0000, -2.7568])
    """

    def __init__(self, base_dist: TorchDistribution, weight: Tensor) -> None:
        if base_dist._validate_args and not bool((weight >= 0).all()):
            raise ValueError(f"expected weights that are not negative, but found invalid values: {weight}")
        self.weight = weight
        super().__init__(base_dist, torch.broadcast_shapes(base_dist.batch_shape, weight.shape))

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Weighted":
        """The same distribution, expanded to a larger batch."""
        return Weighted(self.base_dist.expand(batch_shape), self.weight)

    def log_prob(self, value: Tensor) -> Tensor:
        """The weighted log density, w log p(value)."""
        return self.weight * self.base_dist.log_prob(value)


@register_kl(Weighted, Weighted)
def _kl(p: Weighted, r: Weighted) -> Tensor:
    # of densities that are weighted differently there is none; not to decide by values lets the KL be traced
    return torch.where(p.weight == r.weight, p.weight * kl_divergence(p.base_dist, r.base_dist), torch.nan)
