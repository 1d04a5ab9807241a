"""Importance-weighted bounds, and their combinations."""

import math
from collections.abc import Sequence
from numbers import Real

from pyro.poutine import Trace
from torch import Tensor

from pyvae.core.arguments import check_int
from pyvae.errors import ArgumentError
from pyvae.objectives.per_datapoint import PerDatapointELBO, Weights

__all__ = ["CIWAE", "MIWAE", "ImportanceWeightedELBO"]


class ImportanceWeightedELBO(PerDatapointELBO):
    r"""The importance-weighted bound on the log likelihood, as in IWAE.

    .. math:: L_K = \sum_n E \log \frac 1K \sum_{k=1}^K \frac{p(x_n, z_k)}{q(z_k \mid x_n)}, \qquad
        z_k \sim q(z \mid x_n), \qquad \mathrm{ELBO} = L_1 \le L_K \le L_{K+1} \le \log p(x)

    The loss is −L_K, its gradient goes through the samples. Each datapoint has its own weights, and a plate's factor
    for mini-batches stays outside of the logarithm; neither holds for Pyro's ``RenyiELBO(alpha=0)`` where a site lies
    outside of the data plate or the plate subsamples.

    Args:
        num_particles: K.
        vectorize_particles: whether to draw them side by side, for which the pair's networks must take another leading
            dimension, as ours do; else one after the other.

    Raises:
        ArgumentError: if ``num_particles`` is not positive.
        PairError: when run, if a site lies outside of the plate over the data, or its density is scaled by hand; if the
            guide has a Delta where the model has a density, or draws without reparametrization: :class:`VIMCO` and
            :class:`ReweightedWakeSleep` are for these.

    References:
        Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2016, equations 8 and 13.

    Example:
        >>> import pyvae, torch
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> objective = ImportanceWeightedELBO(num_particles=5)
        >>> result = pyvae.fit(vae, torch.zeros(7, 5), objective=objective, epochs=1, seed=0, progress=False)
        >>> result.history[0]["train_loss"] > 0
        True
    """

    def surrogate(self, weights: Weights, traces: Sequence[tuple[Trace, Trace]]) -> Tensor:
        """The bound itself, Σ_n L: the samples are reparametrized."""
        return self.bound(weights.log).sum()


class MIWAE(ImportanceWeightedELBO):
    r"""An average of M importance-weighted bounds of K particles each.

    .. math:: L_{M,K} = \frac 1M \sum_m \log \frac 1K \sum_k w_{mk}

    The bound is that of :class:`ImportanceWeightedELBO` with K particles, with a less noisy gradient: for a fixed
    number M K of particles, a larger M helps the guide's gradient, and a larger K the model's.

    Args:
        num_particles: K.
        num_bounds: M.
        vectorize_particles: as for :class:`ImportanceWeightedELBO`.

    Raises:
        ArgumentError: if K or M is not positive.
        PairError: as for :class:`ImportanceWeightedELBO`.

    References:
        Rainforth et al., *Tighter variational bounds are not necessarily better*, 2018, equation 11.

    Example:
        >>> MIWAE(num_particles=8, num_bounds=8).num_particles
        64
    """

    def __init__(self, num_particles: int = 5, num_bounds: int = 5, vectorize_particles: bool = True) -> None:
        check_int("num_particles", num_particles)
        check_int("num_bounds", num_bounds)
        super().__init__(num_particles * num_bounds, vectorize_particles)
        self.num_bounds = num_bounds

    def bound(self, log_weights: Tensor) -> Tensor:
        """The mean of the M bounds."""
        return log_weights.unflatten(0, (self.num_bounds, -1)).transpose(0, 1).logsumexp(0).mean(0) - math.log(
            len(log_weights) // self.num_bounds
        )


class CIWAE(ImportanceWeightedELBO):
    r"""A convex combination of the ELBO and the importance-weighted bound, both from the same K particles.

    .. math:: \beta \, \mathrm{ELBO} + (1 - \beta) L_K

    Args:
        num_particles: K.
        beta: β in [0, 1]; 0 is :class:`ImportanceWeightedELBO`, and 1 the ELBO with K particles.
        vectorize_particles: as for :class:`ImportanceWeightedELBO`.

    Raises:
        ArgumentError: if K is not positive, or β outside of [0, 1].
        PairError: as for :class:`ImportanceWeightedELBO`.

    References:
        Rainforth et al., *Tighter variational bounds are not necessarily better*, 2018, equation 12.

    Example:
        >>> import torch
        >>> CIWAE(num_particles=2, beta=0.5).bound(torch.tensor([[0.0], [0.0]]))
        tensor([0.])
    """

    def __init__(self, num_particles: int = 5, beta: float = 0.5, vectorize_particles: bool = True) -> None:
        super().__init__(num_particles, vectorize_particles)
        if isinstance(beta, bool) or not isinstance(beta, Real) or not 0 <= beta <= 1:
            raise ArgumentError(f"beta is {beta!r}; expected a number between 0 and 1")
        self.beta = beta

    def bound(self, log_weights: Tensor) -> Tensor:
        """The combination β mean log w + (1 − β) log mean w."""
        return self.beta * log_weights.mean(0) + (1 - self.beta) * super().bound(log_weights)
