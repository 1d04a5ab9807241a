"""Reweighted wake-sleep with mini-batches."""

from collections.abc import Sequence

from pyro.poutine import Trace
from torch import Tensor

from pyvae.objectives.detached_draws import DetachedDraws
from pyvae.objectives.per_datapoint import Weights

__all__ = ["ReweightedWakeSleep"]


class ReweightedWakeSleep(DetachedDraws):
    r"""Reweighted wake-sleep: the model ascends the importance-weighted bound, the guide an importance-weighted KL.

    .. math:: \sum_k \tilde w_k \nabla_\theta \log p(x, z_k) \text{ for the model}, \qquad
        \sum_k \tilde w_k \nabla_\phi \log q(z_k \mid x) \text{ for the guide}, \qquad
        \tilde w_k = \frac{w_k}{\sum_j w_j}

    The model ascends L_K, the guide descends KL(p(z | x) ‖ q(z | x)). The weights of each datapoint are its own. No
    gradient goes through the samples, so that any guide with a density will do, codes included. Both gradients are
    those of self-normalized estimates: their bias falls as 1/K. The loss is −L_K. This is wake-wake: both programs
    learn from data; Pyro's objective of this name also knows the sleep phase, but no mini-batches.

    Args:
        num_particles: K, at least 2.
        vectorize_particles: as for :class:`ImportanceWeightedELBO`.

    Raises:
        ArgumentError: if ``num_particles`` is less than 2.
        PairError: when run, if a site lies outside of the plate over the data, or its density is scaled by hand, or if
            the guide has a Delta where the model has a density.

    References:
        Bornschein and Bengio, *Reweighted wake-sleep*, 2015, equations 4 and 10; Le et al., *Revisiting reweighted
        wake-sleep*, 2019, section 3.

    Example:
        >>> import pyvae, torch
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> objective = ReweightedWakeSleep(num_particles=5)
        >>> result = pyvae.fit(vae, torch.zeros(7, 5), objective=objective, epochs=1, seed=0, progress=False)
        >>> result.history[0]["train_loss"] > 0
        True
    """

    _least = 2
    _pathwise = False

    def surrogate(self, weights: Weights, traces: Sequence[tuple[Trace, Trace]]) -> Tensor:
        """The sum Σ_k w̃_k (log p(x, z_k) + log q(z_k | x)), at fixed weights."""
        return (weights.normalized * (weights.model + weights.guide)).sum()
