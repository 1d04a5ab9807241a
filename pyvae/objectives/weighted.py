"""The ELBO with weighted and bounded KL terms: β-VAE, warm-up, free bits."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import Trace_ELBO
from pyro.infer.util import torch_item
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions.kl import kl_divergence

from pyvae.errors import ArgumentError, PairError
from pyvae.inspection import stochastic_sites, unwrapped
from pyvae.objectives.default import has_analytic_kl

__all__ = ["WarmUp", "WeightedELBO"]

Beta = float | Callable[[int], float]


@dataclass(frozen=True)
class WarmUp:
    r"""β(e) = min(1, (e − delay) / epochs), at least ``floor``: a KL weight that rises linearly over epochs e ≥ 1.

    Args:
        epochs: how many it takes to reach 1.
        delay: how many pass before it rises.
        floor: what it starts from, more than 0.

    Raises:
        ArgumentError: if an argument is out of range.

    Example:
        >>> [WarmUp(epochs=4)(epoch) for epoch in (1, 2, 4, 9)]
        [0.25, 0.5, 1.0, 1.0]
    """

    epochs: int
    delay: int = 0
    floor: float = 1e-3

    def __post_init__(self) -> None:
        if not (self.epochs >= 1 and self.delay >= 0 and 0 < self.floor <= 1):
            raise ArgumentError(
                f"got epochs={self.epochs!r}, delay={self.delay!r}, floor={self.floor!r}; expected at least one epoch, "
                "no negative delay, and a floor in (0, 1]"
            )

    def __call__(self, epoch: int) -> float:
        """β in this epoch, counted from 1."""
        return min(1.0, max(self.floor, (epoch - self.delay) / self.epochs))


class WeightedELBO(Trace_ELBO):
    r"""E_q[log p(x | z)] − Σ_i β_i max(λ, KL_i): the ELBO with weights on the KL terms, and free bits.

    KL_i = E_q[log q(z_i | …) − log p(z_i | …)] is the term of the latent site z_i, in closed form where that exists
    and both programs draw in the same order. With free bits λ > 0, the mean of the term over the batch is kept from
    giving gradients below λ. For training only: :func:`pyvae.elbo` and all other figures have β = 1 and λ = 0, and
    :func:`pyvae.fit` logs the plain ELBO beside this loss.

    Args:
        beta: β, for all latents, or by the name of the site (those not named have 1); numbers, or functions of the
            epoch, counted from 1, such as :class:`WarmUp`. :func:`pyvae.fit` tells the epoch; in a loop of your own,
            call :meth:`at_epoch`.
        free_bits: λ in nats per datapoint and site, whatever the name says; of several particles that are not drawn
            side by side, each has its own.
        num_particles: Monte Carlo draws per step.
        vectorize_particles: whether to draw them side by side.

    Raises:
        ArgumentError: if a weight or λ is negative or not finite.
        PairError: when run, if a latent site is not reparametrized, or is named in ``beta`` and does not exist.

    References:
        Higgins et al., *β-VAE*, 2017, equation 4; Sønderby et al., *Ladder variational autoencoders*, 2016, section
        2.3 (warm-up); Kingma et al., *Improved variational inference with inverse autoregressive flow*, 2016,
        equation 15 (free bits).

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> objective = WeightedELBO(beta=WarmUp(epochs=10), free_bits=0.1)
        >>> result = pyvae.fit(vae, torch.zeros(7, 5), objective=objective, epochs=1, seed=0, progress=False)
        >>> sorted(result.history[0])[-3:]
        ['train_kl', 'train_loss', 'train_reconstruction']
    """

    def __init__(
        self,
        beta: Beta | Mapping[str, Beta] = 1.0,
        free_bits: float = 0.0,
        num_particles: int = 1,
        vectorize_particles: bool = False,
    ) -> None:
        super().__init__(num_particles=num_particles, vectorize_particles=vectorize_particles)
        self.free_bits = _checked("free_bits", free_bits)
        self.schedules = dict(beta) if isinstance(beta, Mapping) else {None: beta}
        # tells a resumed run what it goes on with
        self.settings = ", ".join(f"{n}: {getattr(b, '__qualname__', repr(b))}" for n, b in self.schedules.items())
        # tensors, so that a compiled step reads them anew, and copies of the objective share them
        self._betas = {name: torch.tensor(0.0) for name in self.schedules}
        self.at_epoch(1)

    def at_epoch(self, epoch: int) -> None:
        """Take the weights of this epoch, counted from 1."""
        for name, beta in self.schedules.items():
            self._betas[name].fill_(_checked("beta", beta(epoch) if callable(beta) else beta))

    def _beta(self, name: str) -> Tensor | float:
        return self._betas.get(name, self._betas.get(None, 1.0))

    def loss(self, model: Callable, guide: Callable, *args: object, **kwargs: object) -> float:
        """The loss without gradients, in nats, summed over the batch."""
        with torch.no_grad():
            return torch_item(self.differentiable_loss(model, guide, *args, **kwargs))

    def _differentiable_loss_particle(self, model_trace: Trace, guide_trace: Trace) -> tuple[float, Tensor]:
        """The part of Trace_ELBO that Pyro's own objectives replace: the loss of a particle, and what to derive."""
        model, guide = stochastic_sites(model_trace), stochastic_sites(guide_trace)
        latents = [name for name, site in model.items() if not site["is_observed"]]
        missing = [n for n in self._betas if n is not None and n not in latents]
        if missing:
            raise PairError(f"beta names {missing}; expected latent sites of the model, which are {latents}")
        unmatched = [name for name in latents if name not in guide]
        if unmatched:
            raise PairError(f"the model samples {unmatched}, which the guide does not")
        loss = sum(-site["log_prob_sum"] for site in model.values() if site["is_observed"])
        loss = loss + sum(site["log_prob_sum"] for name, site in guide.items() if name not in model)
        same_order = [n for n in guide if n in model] == latents
        for name in latents:
            loss = loss + self._beta(name) * self._term(name, guide[name], model[name], same_order)
        return torch_item(loss), loss

    def _term(self, name: str, q: dict, p: dict, same_order: bool) -> Tensor:
        """max(λ, KL) of a site, summed over the batch."""
        if not q["fn"].has_rsample:
            raise PairError(
                f"site {name!r} of the guide is not reparametrized ({type(unwrapped(q['fn'])).__name__}), which "
                "WeightedELBO does not support; use Trace_ELBO or TraceGraph_ELBO"
            )
        if same_order and has_analytic_kl(q, p):
            kl = scale_and_mask(kl_divergence(q["fn"], p["fn"]), q["scale"], q["mask"])
        else:
            kl = q["log_prob"] - p["log_prob"]
        if not self.free_bits:
            return kl.sum()
        count = scale_and_mask(torch.ones_like(kl), q["scale"], q["mask"]).sum()
        return (kl.sum() / count.clamp(min=1e-12)).clamp(min=self.free_bits) * count


def _checked(name: str, value: float) -> float:
    if not isinstance(value, Real) or not 0 <= value < math.inf:
        raise ArgumentError(
            f"{name} is {value!r}; expected a number that is not negative, or for beta a function "
            "from the epoch to such a number"
        )
    return float(value)
