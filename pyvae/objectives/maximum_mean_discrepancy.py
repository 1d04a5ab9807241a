"""The ELBO with a penalty on the distance between the prior and the aggregated posterior."""

import math
from collections.abc import Mapping
from numbers import Real

from pyro.distributions import Delta, Distribution
from torch import Tensor

from pyvae.errors import ArgumentError, PairError
from pyvae.inspection.sites import unwrapped
from pyvae.objectives.weighted import WeightedELBO, checked_weight, penalized_site, refuse_mask

__all__ = ["InfoVAE"]


class InfoVAE(WeightedELBO):
    r"""The ELBO with a penalty on the MMD between the aggregated posterior and the prior.

    .. math:: E_q[\log p(x \mid z)] - (1 - \alpha) \, \mathrm{KL}(q(z \mid x) \,\|\, p(z))
        - (\alpha + \lambda - 1) \, \mathrm{MMD}^2(q(z), p(z)), \qquad q(z) = E_x[q(z \mid x)]

    The maximum mean discrepancy compares a batch of samples of the guide with as many of the prior, by the kernel k(u,
    v) = C / (C + ‖u − v‖²) with C twice the length of z, as an average over pairs of different samples: without bias,
    and therefore sometimes negative. With α = 1 there is no KL, as in Wasserstein auto-encoders. For training only.

    Args:
        alpha: α, at most 1; its KL has the weight 1 − α.
        weight: the factor α + λ − 1 of MMD², in nats per datapoint.
        site: the latent site, by default the only one; where its prior depends on other latents, these are the guide's.
        num_particles: Monte Carlo samples per step, one after the other.

    Raises:
        ArgumentError: if α is more than 1, or a weight negative or not finite.
        PairError: when run, if there is no such site in both programs, if it is masked, in several plates or a Delta,
            or if its prior is learned and not reparametrized.

    References:
        Zhao, Song and Ermon, *InfoVAE*, 2019, equation 6; Tolstikhin et al., *Wasserstein auto-encoders*, 2018,
        algorithm 2 (the kernel).

    Example:
        >>> import pyvae, torch
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> objective = InfoVAE(alpha=0.5, weight=100.0)
        >>> result = pyvae.fit(vae, torch.rand(7, 5), objective=objective, epochs=1, seed=0, progress=False)
        >>> len(result.history)
        1
    """

    def __init__(
        self, alpha: float = 0.0, weight: float = 100.0, site: str | None = None, num_particles: int = 1
    ) -> None:
        self.weight, self.site = checked_weight("weight", weight), site
        super().__init__(_kl_weight(alpha), num_particles=num_particles)

    def penalty(self, guide: Mapping[str, dict], model: Mapping[str, dict]) -> Tensor:
        """The weight times MMD², summed over the batch."""
        name = penalized_site(self.site, guide, model)
        q, p = guide[name], model[name]
        if isinstance(unwrapped(p["fn"]), Delta):
            raise PairError(
                f"site {name!r} of the model is a Delta, which has no spread to compare with; use WeightedELBO"
            )
        rows = len(q["value"])
        if q["fn"].batch_shape != (rows,):
            raise PairError(
                f"site {name!r} of the guide has batch shape {tuple(q['fn'].batch_shape)}; expected one plate"
            )
        refuse_mask(name, q)
        if rows == 1:
            return q["value"].new_zeros(())
        drawn, wanted = q["value"].flatten(1), _draw_prior(name, p["fn"]).flatten(1)
        return self.weight * q["scale"] * rows * _squared_discrepancy(drawn, wanted)


def _draw_prior(name: str, p: Distribution) -> Tensor:
    """Samples through which a learned prior gets its gradient."""
    if p.has_rsample:
        return p.rsample()
    draws = p.sample()
    if p.log_prob(draws).requires_grad:
        raise PairError(
            f"the prior of site {name!r} is learned, but not reparametrized ({type(unwrapped(p)).__name__}): "
            "InfoVAE would have no gradient for it; use WeightedELBO, or a prior such as NeuralSplineFlow"
        )
    return draws


def _squared_discrepancy(u: Tensor, v: Tensor) -> Tensor:
    """MMD² of two samples (N, D) of the same size."""
    rows, width = u.shape

    def mean(a: Tensor, b: Tensor) -> Tensor:
        distances = (a[:, None] - b).square().sum(-1)
        kernel = 2 * width / (2 * width + distances)
        return (kernel.sum() - kernel.diagonal().sum()) / (rows * (rows - 1))

    return mean(u, u) + mean(v, v) - 2 * mean(u, v)


def _kl_weight(alpha: float) -> float:
    if isinstance(alpha, bool) or not isinstance(alpha, Real) or not -math.inf < alpha <= 1:
        raise ArgumentError(f"alpha is {alpha!r}; expected a number of at most 1")
    return 1 - alpha
