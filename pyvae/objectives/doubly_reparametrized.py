"""The importance-weighted bound with the doubly reparametrized gradient."""

from collections.abc import Sequence

import torch
from pyro.poutine import Trace
from torch import Tensor

from pyvae.errors import PairError
from pyvae.inspection.sites import stochastic_sites
from pyvae.objectives.detached_draws import DetachedDraws
from pyvae.objectives.per_datapoint import Weights

__all__ = ["DReG"]


class DReG(DetachedDraws):
    r"""The importance-weighted bound with the doubly reparametrized gradient for the guide.

    .. math:: \nabla_\phi L_K = E \sum_k \tilde w_k^2 \frac{\partial \log w_k}{\partial z_k} \nabla_\phi z_k, \qquad
        \tilde w_k = \frac{w_k}{\sum_j w_j}

    The gradient of :class:`ImportanceWeightedELBO` for the guide drowns in noise as K grows; this one has the same mean
    and does not. The model's gradient is the same. With K = 1 it is the "sticking the landing" gradient of the ELBO.

    Args:
        num_particles: K.
        vectorize_particles: as for :class:`ImportanceWeightedELBO`.

    Raises:
        ArgumentError: if ``num_particles`` is not positive.
        PairError: as for :class:`ImportanceWeightedELBO`; and if the guide has a factor.

    References:
        Tucker et al., *Doubly reparameterized gradient estimators for Monte Carlo objectives*, 2019, equation 8;
        Rainforth et al., *Tighter variational bounds are not necessarily better*, 2018 (the noise); Roeder, Wu and
        Duvenaud, *Sticking the landing*, 2017 (K = 1).

    Example:
        >>> import pyvae, torch
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> result = pyvae.fit(vae, torch.zeros(7, 5), objective=DReG(5), epochs=1, seed=0, progress=False)
        >>> result.history[0]["train_loss"] > 0
        True
    """

    def surrogate(self, weights: Weights, traces: Sequence[tuple[Trace, Trace]]) -> Tensor:
        """The sum Σ_k w̃_k log p(x, z_k) at fixed samples, and the term that gives the samples their gradient."""
        surrogate = (weights.normalized * weights.model).sum()
        through_draws = (weights.normalized.square() * weights.log).sum()
        for model_trace, guide_trace in traces:
            _refuse_factors(guide_trace, model_trace)
            latents = [s for s in stochastic_sites(guide_trace).values() if s["draw"].requires_grad]
            values = [s["value"] for s in latents]
            wanted = list(_gradients(through_draws, values))
            while latents:  # from the last to the first, as a sample may depend on those before it
                draw, gradient = latents.pop()["draw"], wanted.pop()
                values.pop()
                surrogate = surrogate + (gradient * draw).sum()
                if values:
                    wanted = [a + b for a, b in zip(wanted, _gradients(draw, values, gradient), strict=True)]
        return surrogate


def _gradients(output: Tensor, inputs: list[Tensor], gradient: Tensor | None = None) -> list[Tensor]:
    """Those of an output, or of its product with ``gradient``; 0 for inputs on which it does not depend."""
    if not inputs or not output.requires_grad:
        return [torch.zeros_like(i) for i in inputs]
    found = torch.autograd.grad(output, inputs, gradient, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(i) if g is None else g for g, i in zip(found, inputs, strict=True)]


def _refuse_factors(guide: Trace, model: Trace) -> None:
    factors = sorted(set(stochastic_sites(guide)) - set(model.nodes))
    if factors:
        raise PairError(
            f"the guide has {factors}, which the model does not: DReG knows densities of samples alone; use "
            "ImportanceWeightedELBO"
        )
