"""Importance-weighted bounds, each datapoint with weights of its own."""

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO
from pyro.infer.enum import get_importance_trace
from pyro.infer.util import torch_item
from pyro.poutine import Trace
from torch import Tensor

from pyvae.checks import check_int
from pyvae.errors import PairError
from pyvae.inspection import stochastic_sites, unwrapped

__all__ = ["VIMCO", "ImportanceWeightedELBO"]

_PARTICLES = "num_particles_vectorized"  # the plate that Pyro's objectives put around the programs


class ImportanceWeightedELBO(ELBO):
    r"""L_K = Σ_n E[log (1/K) Σ_k p(x_n, z_k) / q(z_k | x_n)], z_k ~ q(z | x_n): ELBO = L_1 ≤ L_K ≤ L_{K+1} ≤ log p(x).

    The loss is −L_K, its gradient goes through the draws. Each datapoint has its own weights, and a plate's factor
    for mini-batches stays outside of the logarithm; neither holds for Pyro's ``RenyiELBO(alpha=0)`` where a site lies
    outside of the data plate or the plate subsamples.

    Args:
        num_particles: K.
        vectorize_particles: whether to draw them side by side, for which the pair's networks must take another leading
            dimension, as ours do; else one after the other.

    Raises:
        ArgumentError: if ``num_particles`` is not positive.
        PairError: when run, if a site lies outside of the plate over the data, or its density is scaled by hand; if the
            guide has a Delta where the model has a density, or draws without reparametrization: :class:`VIMCO` is for
            these.

    References:
        Burda, Grosse and Salakhutdinov, *Importance weighted autoencoders*, 2016, equations 8 and 13.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> objective = ImportanceWeightedELBO(num_particles=5)
        >>> result = pyvae.fit(vae, torch.zeros(7, 5), objective=objective, epochs=1, seed=0, progress=False)
        >>> result.history[0]["train_loss"] > 0
        True
    """

    def __init__(self, num_particles: int = 5, vectorize_particles: bool = True) -> None:
        check_int("num_particles", num_particles, self._least)
        super().__init__(num_particles=num_particles, vectorize_particles=vectorize_particles)

    _least = 1

    def loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:
        """−L_K in nats, summed over the batch and scaled by its plate."""
        with torch.no_grad():
            return torch_item(self._losses(model, guide, args, kwargs)[0])

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:
        """What has the gradient of −L_K, and for reparametrized guides its value."""
        return self._losses(model, guide, args, kwargs)[1]

    def loss_and_grads(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:
        """The loss; its gradients are added to those of the parameters."""
        loss, surrogate = self._losses(model, guide, args, kwargs)
        if surrogate.requires_grad:
            surrogate.backward()
        return torch_item(loss)

    def _losses(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple[Tensor, Tensor]:
        """−L_K, and what to derive in its place."""
        parts = [self._weights(*traces) for traces in self._get_traces(model, guide, args, kwargs)]
        log_weights, log_drawn = (torch.cat(tensors) for tensors in zip(*(p[:2] for p in parts), strict=True))
        bound = log_weights.logsumexp(0) - math.log(len(log_weights))
        surrogate, scale = bound + self._score(log_weights, log_drawn), parts[0][2]
        return -scale * bound.detach().sum(), -scale * surrogate.sum()

    def _score(self, log_weights: Tensor, log_drawn: Tensor) -> Tensor | float:
        """What the surrogate needs for sites that are not reparametrized: nothing, as there are none."""
        return 0.0

    def _check_reparametrized(self, name: str, site: dict) -> None:
        raise PairError(
            f"site {name!r} of the guide is not reparametrized ({type(unwrapped(site['fn'])).__name__}), so that "
            f"{type(self).__name__} would have no gradient for it; use VIMCO"
        )

    def _get_trace(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple[Trace, Trace]:
        return get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)

    def _weights(self, model_trace: Trace, guide_trace: Trace) -> tuple[Tensor, Tensor, float]:
        """Log weights, log q of what is drawn without reparametrization, (particles, data) each, the plate's factor."""
        model, guide = stochastic_sites(model_trace), stochastic_sites(guide_trace)
        sites = [("model", *item) for item in model.items()] + [("guide", *item) for item in guide.items()]
        dim, scale = _data_plate(sites)
        particles = next((f.dim for _, _, s in sites for f in s["cond_indep_stack"] if f.name == _PARTICLES), None)
        log_weight, log_drawn = 0.0, 0.0
        for program, name, site in sites:
            density = _density(site, dim, particles)
            log_weight = log_weight + (density if program == "model" else -density)
            if program == "guide" and name in model:
                _check_spread(name, site, model[name])
                if not site["fn"].has_rsample:
                    self._check_reparametrized(name, site)
                    log_drawn = log_drawn + density
        return log_weight, torch.as_tensor(log_drawn).expand(log_weight.shape), scale


class VIMCO(ImportanceWeightedELBO):
    r"""L_K with a gradient for guides that draw codes or other things without reparametrization.

    To the gradient at fixed draws comes Σ_k (L̂ − L̂_{−k}) ∇ log q(z_k | x), where L̂_{−k} is the estimate with the
    geometric mean of the others in place of w_k: a control variate that costs nothing. The gradient is that of the
    bound without bias; sites that are reparametrized keep their gradient through the draw.

    Args:
        num_particles: K, at least 2.
        vectorize_particles: as for :class:`ImportanceWeightedELBO`.

    Raises:
        ArgumentError: if ``num_particles`` is less than 2.
        PairError: when run, if a site lies outside of the plate over the data, or its density is scaled by hand, or if
            the guide has a Delta where the model has a density.

    References:
        Mnih and Rezende, *Variational inference for Monte Carlo objectives*, 2016, equations 5 to 10.

    Example:
        >>> import pyvae
        >>> quantizer = pyvae.guides.SoftmaxQuantizer(num_codes=4, dim=2)
        >>> pair = pyvae.recipes.vqvae(shape=(1, 4, 4), channels=[4], quantizer=quantizer)
        >>> result = pyvae.fit(pair, torch.zeros(7, 1, 4, 4), objective=VIMCO(3), epochs=1, seed=0, progress=False)
        >>> result.history[0]["train_loss"] > 0
        True
    """

    _least = 2

    def _score(self, log_weights: Tensor, log_drawn: Tensor) -> Tensor | float:
        count = len(log_weights)
        fixed = log_weights.detach()
        means = (fixed.sum(0) - fixed) / (count - 1)
        without = fixed.expand(count, *fixed.shape).clone()
        without[range(count), range(count)] = means
        signal = fixed.logsumexp(0) - without.logsumexp(1)
        return (signal * log_drawn).sum(0)

    def _check_reparametrized(self, name: str, site: dict) -> None:
        """All sites will do."""


def _data_plate(sites: list[tuple[str, str, dict]]) -> tuple[int, float]:
    """The dim of the plate that holds every site, and its factor for mini-batches.

    Raises:
        PairError: naming the site that lies outside, or is scaled by hand.
    """
    common: set | None = None
    for program, name, site in sites:
        frames = {f for f in site["cond_indep_stack"] if f.vectorized and f.name != _PARTICLES}
        here = {(f.name, f.dim, f.size, f.full_size) for f in frames}
        common = here if common is None else common & here
        if not common:
            raise PairError(
                f"site {name!r} of the {program} lies outside of the plate over the data, so that datapoints have no "
                "weights of their own; put it into the plate, or use Trace_ELBO"
            )
        factor = math.prod((f.full_size or f.size) / f.size for f in frames)
        if isinstance(site["scale"], Tensor) or not math.isclose(site["scale"], factor, rel_tol=1e-6):
            raise PairError(
                f"the density of site {name!r} of the {program} is scaled by hand: importance weights are undefined; "
                "leave the scale out, or use Trace_ELBO"
            )
    named = {plate for plate in common if plate[0] == "data"}
    if len(common) > 1 and not named:
        raise PairError(f"several plates could be the one over the data: {sorted(common)}; name that one 'data'")
    _, dim, size, full_size = (named or common).pop()
    return dim, (full_size or size) / size


def _density(site: dict, dim: int, particles: int | None) -> Tensor:
    """Log density, unscaled, (particles, data)."""
    log_prob = scale_and_mask(site["unscaled_log_prob"], mask=site["mask"])
    kept = [d for d in (particles, dim) if d is not None]
    log_prob = log_prob[(None,) * max(0, -min(kept) - log_prob.dim())]
    others = [d for d in range(-log_prob.dim(), 0) if d not in kept]
    summed = log_prob.sum(others) if others else log_prob
    return summed if particles is not None else summed[None]


def _check_spread(name: str, q: dict, p: dict) -> None:
    if isinstance(unwrapped(q["fn"]), Delta) and not isinstance(unwrapped(p["fn"]), Delta):
        raise PairError(f"site {name!r} of the guide is a Delta, whose density is no importance weight; use Trace_ELBO")
