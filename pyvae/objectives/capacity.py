"""The ELBO whose KL is kept at a capacity."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pyvae.objectives.schedules import Schedule
from pyvae.objectives.weighted import KLTerm, WeightedELBO, at_epoch, checked_weight

__all__ = ["CapacityELBO"]


class CapacityELBO(WeightedELBO):
    r"""The ELBO whose KL term is pulled to a capacity of C nats, as in β-VAE with controlled capacity.

    .. math:: E_q[\log p(x \mid z)] - \gamma \, \bigl| \mathrm{KL}(q(z \mid x) \,\|\, p(z)) - C \bigr|

    The KL is a mean over the batch.

    A capacity that rises lets the latents take up one factor of variation after the other, the most useful first. For
    training only; with several latent sites, the KL is that of all together.

    Args:
        capacity: C in nats per datapoint; a number, or a function of the epoch, such as :class:`Ramp`.
        gamma: γ.
        num_particles: Monte Carlo samples per step.
        vectorize_particles: whether to draw them side by side.

    Raises:
        ArgumentError: if C or γ is negative or not finite.
        PairError: when run, if a latent site is not reparametrized.

    References:
        Burgess et al., *Understanding disentangling in β-VAE*, 2018, equation 8.

    Example:
        >>> import pyvae
        >>> from pyvae.objectives import Ramp
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> objective = CapacityELBO(capacity=Ramp(stop=3.0, epochs=10), gamma=10.0)
        >>> result = pyvae.fit(vae, torch.zeros(7, 5), objective=objective, epochs=1, seed=0, progress=False)
        >>> result.history[0]["train_loss"] > 0
        True
    """

    def __init__(
        self,
        capacity: Schedule,
        gamma: float = 10.0,
        num_particles: int = 1,
        vectorize_particles: bool = False,
    ) -> None:
        self.gamma = checked_weight("gamma", gamma)
        self._capacity = torch.tensor(0.0)  # shared and read anew, as the weights are
        self.capacity = capacity
        super().__init__(num_particles=num_particles, vectorize_particles=vectorize_particles)
        self.settings = f"capacity: {getattr(capacity, '__qualname__', repr(capacity))}"

    def at_epoch(self, epoch: int, total: int | None = None) -> None:
        """Take the capacity of this epoch, counted from 1."""
        super().at_epoch(epoch, total)
        self._capacity.fill_(at_epoch("capacity", self.capacity, epoch, total))

    def divergence(self, terms: Mapping[str, KLTerm]) -> Tensor:
        """The penalty γ abs(Σ_i KL_i − C), summed over the batch."""
        return (
            self.gamma * (sum(t.mean for t in terms.values()) - self._capacity).abs() * next(iter(terms.values())).count
        )
