"""The base of objectives of importance weights: the weights of each datapoint, and their loss."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pyro.distributions import Delta
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO
from pyro.infer.enum import get_importance_trace
from pyro.infer.util import torch_item
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyvae.core.arguments import check_int
from pyvae.errors import PairError
from pyvae.inspection.plates import choose_plate, plates_around
from pyvae.inspection.sites import PARTICLES, check_latents, guide_observations, stochastic_sites, summed_but, unwrapped

__all__ = ["PerDatapointELBO", "Weights"]


@dataclass(frozen=True)
class Weights:
    """The log weights of a run, (particles, data) each.

    Attributes:
        model: log p(x, z).
        guide: log q(z | x), its factors included.
        drawn: the part of log q of sites that are drawn without reparametrization.
        scale: the plate's factor for mini-batches.
    """

    model: Tensor
    guide: Tensor
    drawn: Tensor
    scale: float

    @property
    def log(self) -> Tensor:
        """The log weights, log w = log p(x, z) − log q(z | x)."""
        return self.model - self.guide

    @property
    def normalized(self) -> Tensor:
        """The normalized weights w_k / Σ_j w_j, as numbers without a gradient."""
        return self.log.detach().softmax(0)


class PerDatapointELBO(ELBO):
    """The base of losses −Σ_n L(w_{1n}, …, w_{Kn}) of importance weights, with weights of its own for each datapoint.

    Subclasses define L, and a surrogate to differentiate in its place.
    """

    #: the fewest particles, and whether the guide's sites must be reparametrized or may be anything
    _least = 1
    _pathwise = True

    def __init__(self, num_particles: int = 5, vectorize_particles: bool = True) -> None:
        check_int("num_particles", num_particles, self._least)
        super().__init__(num_particles=num_particles, vectorize_particles=vectorize_particles)

    def bound(self, log_weights: Tensor) -> Tensor:
        """The bound L of each datapoint, (N,), from log weights (K, N): by default the importance-weighted bound."""
        return log_weights.logsumexp(0) - math.log(len(log_weights))

    @abstractmethod
    def surrogate(self, weights: Weights, traces: Sequence[tuple[Trace, Trace]]) -> Tensor:
        """A surrogate with the gradient of Σ_n L."""

    def loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:
        """The loss −L in nats, summed over the batch and scaled by its plate."""
        with torch.no_grad():
            weights = self._weigh(self._drawn(model, guide, args, kwargs))
            return torch_item(-weights.scale * self.bound(weights.log).sum())

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:
        """A tensor with the value and the gradient of −L."""
        traces = self._drawn(model, guide, args, kwargs)
        weights = self._weigh(traces)
        surrogate = self.surrogate(weights, traces)
        value = self.bound(weights.log).sum().detach()
        return -weights.scale * (value + surrogate - surrogate.detach())

    def loss_and_grads(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> float:
        """The loss, whose gradients are added to those of the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return torch_item(loss)

    def _get_trace(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> tuple[Trace, Trace]:
        return get_importance_trace("flat", self.max_plate_nesting, model, guide, args, kwargs)

    def _drawn(self, model: Callable, guide: Callable, args: tuple, kwargs: dict) -> list[tuple[Trace, Trace]]:
        """The traces of model and guide, for all particles at once or each."""
        if self.max_plate_nesting == math.inf:
            self._guess_max_plate_nesting(model, guide, args, kwargs)  # draws data of its own
        with _SameData():
            return list(self._get_traces(model, guide, args, kwargs))

    def _weigh(self, traces: Sequence[tuple[Trace, Trace]]) -> Weights:
        """The weights of all particles, whether they were drawn side by side or one after the other."""
        parts = [self._weights(*pair) for pair in traces]
        together = (torch.cat([getattr(p, name) for p in parts]) for name in ("model", "guide", "drawn"))
        return Weights(*together, parts[0].scale)

    def _weights(self, model_trace: Trace, guide_trace: Trace) -> Weights:
        model, guide = stochastic_sites(model_trace), stochastic_sites(guide_trace)
        for name in guide_observations(guide_trace):
            del guide[name]
        sites = [("model", *item) for item in model.items()] + [("guide", *item) for item in guide.items()]
        check_latents(guide, model)
        dim, scale = _data_plate(sites)
        particles = next((f.dim for _, _, s in sites for f in s["cond_indep_stack"] if f.name == PARTICLES), None)
        kept = [d for d in (particles, dim) if d is not None]
        totals = {"model": torch.zeros(()), "guide": torch.zeros(()), "drawn": torch.zeros(())}
        for program, name, site in sites:
            density = summed_but(scale_and_mask(site["unscaled_log_prob"], mask=site["mask"]), kept)
            density = density if particles is not None else density[None]
            totals[program] = totals[program] + density
            if program == "guide" and name in model:
                self.check_site(name, site, model[name])
                if not site["fn"].has_rsample:
                    totals["drawn"] = totals["drawn"] + density
        shape = torch.broadcast_shapes(*(t.shape for t in totals.values()))
        return Weights(*(t.expand(shape) for t in totals.values()), scale)

    def check_site(self, name: str, q: dict, p: dict) -> None:
        """Refuse a latent site, as both programs have it, for which the objective has no weight, or no gradient.

        Raises:
            PairError: naming the site.
        """
        kind, ours = type(unwrapped(q["fn"])), type(self).__name__
        if kind is Delta and type(unwrapped(p["fn"])) is not Delta:
            raise PairError(
                f"site {name!r} of the guide is a Delta, whose density is no importance weight; use Trace_ELBO"
            )
        if self._pathwise and not q["fn"].has_rsample:
            raise PairError(
                f"site {name!r} of the guide is not reparametrized ({kind.__name__}), so that {ours} would have no "
                "gradient for it; use VIMCO or ReweightedWakeSleep"
            )


def _data_plate(sites: list[tuple[str, str, dict]]) -> tuple[int, float]:
    """The dim of the plate that holds every site, and its factor for mini-batches.

    Raises:
        PairError: naming the site that lies outside, or is scaled by hand.
    """
    plates, outside = plates_around(((program, name), site) for program, name, site in sites)
    if outside:
        program, name = outside
        raise PairError(
            f"site {name!r} of the {program} lies outside of the plate over the data, so that datapoints have no "
            "weights of their own; put it into the plate, or use Trace_ELBO"
        )
    _, dim, size, full_size = choose_plate(plates)
    factor = full_size / size
    for program, name, site in sites:
        if isinstance(site["scale"], Tensor) or not math.isclose(site["scale"], factor, rel_tol=1e-6):
            raise PairError(
                f"the density of site {name!r} of the {program} is scaled by hand, or by a plate that it sees in part "
                "alone: importance weights are undefined; leave the scale out, or use Trace_ELBO"
            )
    return dim, factor


class _SameData(Messenger):
    """Refuses particles that a plate draws one after the other for different data."""

    def __init__(self) -> None:
        super().__init__()
        self._chosen: dict[str, Tensor] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if not site_is_subsample(msg) or len(msg["value"]) == msg["fn"].size:
            return
        name, value = msg["name"], msg["value"]
        before = self._chosen.setdefault(name, value)
        if before is not value and not torch.equal(before, value):
            raise PairError(
                f"plate {name!r} draws other data for each particle, whose weights would be of different data; use "
                "vectorize_particles=True, or give the plate its subsample"
            )
