"""The ELBO with a penalty on the total correlation of the latents."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pyvae.core.arguments import check_int
from pyvae.errors import PairError
from pyvae.inspection.sites import unwrapped
from pyvae.objectives.schedules import Schedule
from pyvae.objectives.weighted import WeightedELBO, checked_weight, penalized_site, refuse_mask

__all__ = ["TotalCorrelationELBO"]


class TotalCorrelationELBO(WeightedELBO):
    r"""The ELBO with a penalty on the total correlation of the latents, as in FactorVAE and β-TC-VAE.

    .. math:: \mathrm{ELBO} - \gamma \, \mathrm{TC}, \qquad
        \mathrm{TC} = \mathrm{KL}\Bigl(q(z) \,\Big\|\, \prod_d q(z_d)\Bigr), \qquad q(z) = \frac 1N \sum_n q(z \mid x_n)

    Latents that are independent of each other over the data have none. This is the loss of FactorVAE, and with γ = β −
    1 that of β-TC-VAE. The densities q(z) and q(z_d) at the sample of datapoint i are estimated from the batch of M,
    without bias: q(z | x_i) / N + (N − 1) / (N (M − 1)) Σ_{j ≠ i} q(z | x_j); their logarithms, and so TC, are a little
    too low. A batch of one has no penalty. For training only.

    Args:
        gamma: γ.
        data_size: N, the number of training datapoints.
        site: the latent site, by default the only one.
        beta: as for :class:`WeightedELBO`.
        num_particles: Monte Carlo samples per step, one after the other.

    Raises:
        ArgumentError: if γ is negative or not finite, or N not an int of at least 2.
        PairError: when run, if both programs have no such site, if it is masked or not a vector with independent
            entries given x, or if the batch has more than N datapoints.

    References:
        Chen et al., *Isolating sources of disentanglement in variational autoencoders*, 2018, equation 4 and appendix
        C.2; Kim and Mnih, *Disentangling by factorising*, 2018, equation 2.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> objective = TotalCorrelationELBO(gamma=5.0, data_size=7)
        >>> result = pyvae.fit(vae, torch.rand(7, 5), objective=objective, epochs=1, seed=0, progress=False)
        >>> len(result.history)
        1
    """

    def __init__(
        self,
        gamma: float,
        data_size: int,
        site: str | None = None,
        beta: Schedule = 1.0,
        num_particles: int = 1,
    ) -> None:
        self.gamma = checked_weight("gamma", gamma)
        check_int("data_size", data_size, 2)
        self.data_size, self.site = data_size, site
        super().__init__(beta, num_particles=num_particles)

    def penalty(self, guide: Mapping[str, dict], model: Mapping[str, dict]) -> Tensor:
        """The penalty γ TC, summed over the batch."""
        name = penalized_site(self.site, guide, model)
        site = guide[name]
        q, z = site["fn"], site["value"]
        elements, rows = unwrapped(q), len(z)
        if len(q.event_shape) != 1 or elements.batch_shape != (*q.batch_shape, *q.event_shape) or z.dim() != 2:
            raise PairError(
                f"site {name!r} of the guide has event shape {tuple(q.event_shape)}, batch shape "
                f"{tuple(q.batch_shape)} and a {type(elements).__name__}; TotalCorrelationELBO expects vectors of "
                "independent entries in one plate, such as those of guides.DiagonalNormal"
            )
        refuse_mask(name, site)
        if rows > self.data_size:
            raise PairError(f"got a batch of {rows}; expected at most data_size={self.data_size} datapoints")
        if rows == 1:
            return z.new_zeros(())
        return self.gamma * site["scale"] * self._total_correlation(elements.log_prob(z[:, None])).sum()

    def _total_correlation(self, log_q: Tensor) -> Tensor:
        """log q(z_i) − Σ_d log q(z_id), from log q(z_id | x_j), (i, j, d)."""
        rows, size = len(log_q), self.data_size
        others = math.log((size - 1) / (size * (rows - 1)))
        itself = torch.eye(rows, dtype=torch.bool, device=log_q.device)
        weights = torch.full_like(log_q[..., 0], others).masked_fill(itself, -math.log(size))
        joint = (log_q.sum(-1) + weights).logsumexp(1)
        return joint - (log_q + weights[..., None]).logsumexp(1).sum(-1)
