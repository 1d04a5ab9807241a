"""The ELBO with weighted and bounded KL terms: β-VAE, warm-up, free bits."""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import NamedTuple

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import Trace_ELBO
from pyro.infer.util import torch_item
from pyro.poutine import Trace
from torch import Tensor

from pyvae.core.arguments import check_int
from pyvae.errors import ArgumentError, PairError
from pyvae.inspection.elements import counted
from pyvae.inspection.plates import choose_plate
from pyvae.inspection.sites import PARTICLES, guide_terms, stochastic_sites, unwrapped
from pyvae.objectives.divergences import analytic_sites, site_kl
from pyvae.objectives.schedules import Schedule, WarmUp

__all__ = ["KLTerm", "WeightedELBO", "at_epoch", "checked_weight", "penalized_site", "refuse_mask"]


class KLTerm(NamedTuple):
    """The KL of a latent site, for each element of the batch and as plates scale it, and the site in the guide."""

    kl: Tensor
    site: dict

    @property
    def count(self) -> Tensor:
        """The number of datapoints, as plates scale them; elements of further plates are parts of one datapoint."""
        frames = [f for f in self.site["cond_indep_stack"] if f.vectorized and f.name != PARTICLES]
        _, data = choose_plate({(f.name, f.dim) for f in frames}) if frames else (None, 0)
        inner = [f for f in frames if f.dim != data]
        scale = self.site["scale"] / math.prod((f.full_size or f.size) / f.size for f in inner)
        ones = scale_and_mask(torch.ones_like(self.kl), scale, self.site["mask"])
        return (ones.amax([f.dim for f in inner]) if inner else ones).sum()

    @property
    def mean(self) -> Tensor:
        """The mean in nats per datapoint."""
        return self.kl.sum() / self.count.clamp(min=1e-12)


class WeightedELBO(Trace_ELBO):
    r"""The ELBO with weights on the KL terms, and free bits.

    .. math:: E_q[\log p(x \mid z)] - \sum_i \beta_i \max(\lambda, \mathrm{KL}_i), \qquad
        \mathrm{KL}_i = E_q[\log q(z_i \mid \dots) - \log p(z_i \mid \dots)]

    KL_i is the term of the latent site z_i, in closed form where that exists
    and both programs draw in the same order. With free bits λ > 0, the mean of the term over the batch is kept from
    giving gradients below λ. For training only: :func:`pyvae.elbo` and all other figures have β = 1 and λ = 0, and
    :func:`pyvae.fit` logs the plain ELBO beside this loss.

    Args:
        beta: β, for all latents, or by the name of the site (those not named have 1); numbers, or functions of the
            epoch, counted from 1, such as :class:`WarmUp` or :class:`Cyclical`. :func:`pyvae.fit` sets the epoch; in
            a loop of your own, call :meth:`at_epoch`.
        free_bits: λ in nats per datapoint and site, whatever the name says; of several particles that are not drawn
            side by side, each has its own.
        num_particles: Monte Carlo samples per step.
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
        >>> objective = WeightedELBO(beta=pyvae.objectives.WarmUp(epochs=10), free_bits=0.1)
        >>> result = pyvae.fit(vae, torch.zeros(7, 5), objective=objective, epochs=1, seed=0, progress=False)
        >>> sorted(result.history[0])[-3:]
        ['train_kl', 'train_loss', 'train_reconstruction']
    """

    def __init__(
        self,
        beta: Schedule | Mapping[str, Schedule] = 1.0,
        free_bits: float = 0.0,
        num_particles: int = 1,
        vectorize_particles: bool = False,
    ) -> None:
        check_int("num_particles", num_particles)
        super().__init__(num_particles=num_particles, vectorize_particles=vectorize_particles)
        self.free_bits = checked_weight("free_bits", free_bits)
        self.schedules = dict(beta) if isinstance(beta, Mapping) else {None: beta}
        # identifies the objective to a resumed run
        self.settings = ", ".join(f"{n}: {getattr(b, '__qualname__', repr(b))}" for n, b in self.schedules.items())
        # tensors, so that a compiled step reads them anew, and copies of the objective share them
        self._betas = {name: torch.tensor(0.0) for name in self.schedules}
        self.at_epoch(1, total=1)

    def at_epoch(self, epoch: int, total: int | None = None) -> None:
        """Take the weights of this epoch, counted from 1, of a run of ``total`` epochs."""
        for name, beta in self.schedules.items():
            self._betas[name].fill_(at_epoch("beta", beta, epoch, total))

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
        loss = loss + sum(guide[name]["log_prob_sum"] for name in guide_terms(guide_trace, model_trace))
        for name in latents:
            self.check_site(name, guide[name], model[name])
        analytic = analytic_sites(guide, model)
        terms = {n: KLTerm(site_kl(guide[n], model[n], n in analytic), guide[n]) for n in latents}
        loss = loss + self.divergence(terms) + self.penalty(guide, model)
        return torch_item(loss), loss

    def divergence(self, terms: Mapping[str, KLTerm]) -> Tensor:
        """The KL penalty of the loss: Σ_i β_i max(λ, KL_i), summed over the batch."""
        return sum(self._beta(name) * self._bounded(term) for name, term in terms.items())

    def penalty(self, guide: Mapping[str, dict], model: Mapping[str, dict]) -> Tensor | float:
        """A further penalty of a subclass, given the sites of both programs; here none."""
        return 0.0

    def check_site(self, name: str, q: dict, p: dict) -> None:
        """Refuse a latent site, as both programs have it, for which there is no gradient.

        Raises:
            PairError: naming the site.
        """
        if not q["fn"].has_rsample:
            raise PairError(
                f"site {name!r} of the guide is not reparametrized ({type(unwrapped(q['fn'])).__name__}), which "
                f"{type(self).__name__} does not support; use Trace_ELBO or TraceGraph_ELBO"
            )

    def _bounded(self, term: KLTerm) -> Tensor:
        return term.mean.clamp(min=self.free_bits) * term.count if self.free_bits else term.kl.sum()


def penalized_site(name: str | None, guide: Mapping[str, dict], model: Mapping[str, dict]) -> str:
    """The latent site that a penalty is on: the one of that name, or without a name the only one.

    Raises:
        PairError: if both programs have no such site, or several and no name was given.
    """
    latents = [n for n, site in model.items() if n in guide and not site["is_observed"]]
    if name is None and len(latents) == 1:
        return latents[0]
    if name not in latents:
        came = "no site was named" if name is None else f"there is no site {name!r} in both programs"
        raise PairError(f"{came}; pass as site= one of the latents, which are {latents}")
    return name


def refuse_mask(name: str, site: dict) -> None:
    """Refuse a site of which some datapoints are masked, for objectives that compare datapoints with each other.

    Raises:
        PairError: naming the site.
    """
    if counted(site) is not None:
        raise PairError(f"site {name!r} is masked, and what it shares with others cannot leave data out; leave it out")


def checked_weight(name: str, value: float, hint: str = "") -> float:
    """``value``, a number that is not negative.

    Raises:
        ArgumentError: if it is not.
    """
    if not isinstance(value, Real) or not 0 <= value < math.inf:
        raise ArgumentError(f"{name} is {value!r}; expected a number that is not negative{hint}")
    return float(value)


def at_epoch(name: str, schedule: Schedule, epoch: int, total: int | None = None) -> float:
    """The value of a schedule in an epoch of a run of ``total`` epochs.

    Raises:
        ArgumentError: if it is no number that is not negative, nor a function to such.
    """
    if total is not None and isinstance(schedule, WarmUp):
        schedule = schedule.over(total)
    value = schedule(epoch) if callable(schedule) and not isinstance(schedule, type) else schedule
    return checked_weight(name, value, ", or a function from the epoch to such a number")
