"""The sites of a traced program, and their densities."""

from collections.abc import Collection, Mapping, Sequence

import torch
from pyro.distributions import Unit
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyvae.distributions import Weighted
from pyvae.errors import PairError

__all__ = [
    "PARTICLES",
    "WRAPPERS",
    "as_matrix",
    "check_latents",
    "element_log_probs",
    "guide_extras",
    "guide_observations",
    "guide_terms",
    "has_density",
    "has_support",
    "in_words",
    "instead_of_latents",
    "is_discrete",
    "is_factor",
    "is_summed_out",
    "site_rows",
    "stochastic_sites",
    "summed_but",
    "support_in_words",
    "support_of_elements",
    "unwrapped",
    "without_events",
]

PARTICLES = "num_particles_vectorized"  # the plate that Pyro's objectives put around the programs
WRAPPERS = (torch.distributions.Independent, ExpandedDistribution, MaskedDistribution, Weighted)


def has_density(site: dict) -> bool:
    """Whether a site has a density: a sample, an observation or a factor, and no plate or deterministic value."""
    return site["type"] == "sample" and not site_is_subsample(site) and not site["infer"].get("_deterministic")


def stochastic_sites(trace: Trace) -> dict[str, dict]:
    """The sites of a trace that have a density: samples, observations and factors, without plates."""
    return {name: site for name, site in trace.nodes.items() if has_density(site)}


def is_factor(site: dict) -> bool:
    """Whether a site is a term that ``pyro.factor`` adds to the log density."""
    return isinstance(site["fn"], Unit)


def guide_observations(guide: Trace) -> list[str]:
    """The sites at which a guide observes something, such as the label of a classifier beside it.

    Their probability is part neither of log q nor of log p.
    """
    return [n for n, s in stochastic_sites(guide).items() if s["is_observed"] and not is_factor(s)]


def guide_terms(guide: Trace, model: Trace) -> list[str]:
    """The sites of the guide alone that are part of log q: auxiliary latents and factors."""
    without = {*guide_observations(guide), *model.nodes}
    return [name for name in stochastic_sites(guide) if name not in without]


def guide_extras(guide: Trace, model: Trace) -> list[str]:
    """The sites of the guide alone that it does not mark as auxiliary, deterministic ones among them."""
    samples = {n: s for n, s in guide.nodes.items() if s["type"] == "sample" and not site_is_subsample(s)}
    return [n for n, s in samples.items() if n not in model.nodes and not s["infer"].get("is_auxiliary")]


def unwrapped(distribution: Distribution) -> Distribution:
    """The distribution of single elements or points, without the wrappers that shape, expand or mask it."""
    while isinstance(distribution, WRAPPERS):
        distribution = distribution.base_dist
    return distribution


def without_events(distribution: Distribution) -> tuple[Distribution, int]:
    """The distribution without the event dimensions that are independent, and how many these are."""
    events = 0
    while isinstance(distribution, torch.distributions.Independent):
        events += distribution.reinterpreted_batch_ndims
        distribution = distribution.base_dist
    return distribution, events


def element_log_probs(site: dict) -> tuple[Tensor, Tensor, Distribution]:
    """The log densities of the elements of a site's value, unscaled and 0 where masked; the value; their distribution.

    Independent event dimensions are not summed.
    """
    (fn, events), value, mask = without_events(site["fn"]), site["value"], site["mask"]
    if isinstance(mask, Tensor):
        mask = mask[(..., *[None] * events)]
    return scale_and_mask(fn.log_prob(value), mask=mask), value, fn


def summed_but(log_prob: Tensor, dims: Sequence[int]) -> Tensor:
    """A density of batch dimensions, summed over all of them but ``dims``, which are counted from the right."""
    log_prob = log_prob[(None,) * max(0, -min(dims) - log_prob.dim())]
    others = [d for d in range(-log_prob.dim(), 0) if d not in dims]
    return log_prob.sum(others) if others else log_prob


def is_summed_out(name: str, site: dict, guide: Mapping[str, dict]) -> bool:
    """Whether a latent site of the model is one that is enumerated there, and that the guide does not draw."""
    return not site["is_observed"] and name not in guide and site["infer"].get("enumerate") == "parallel"


def check_latents(guide: dict[str, dict], model: dict[str, dict], sums: bool = False) -> None:
    """Refuse latent sites of one program alone, of which importance weights would be wrong.

    A guide may have factors, and latents that it marks by ``infer={"is_auxiliary": True}``, of which the model's
    latents are functions. ``sums`` says that the latents which the model enumerates are summed out.

    Raises:
        PairError: naming the sites.
    """
    latent = {n for n, site in model.items() if not site["is_observed"]}
    drawn = {n for n, site in guide.items() if not site["is_observed"]}
    extra = {n for n in drawn - latent if n in model or not guide[n]["infer"].get("is_auxiliary")}
    missing = {n for n in latent - drawn if not (sums and is_summed_out(n, model[n], guide))}
    for one, other, names in (("guide", "model", extra), ("model", "guide", missing)):
        if names:
            raise PairError(
                f"the {one} samples {sorted(names)}, which the {other} does not; expected the same latents in both"
                + (instead_of_latents(names, model) if one == "model" else "")
            )


def instead_of_latents(missing: Collection[str], model: Mapping[str, dict]) -> str:
    """What to write where the guide lacks these latents of the model, as the end of a message; may be empty."""
    return _without_obs_mask(missing) or _sum_them_out(missing, model)


def _without_obs_mask(latents: Collection[str]) -> str:
    """Advice on the latents that Pyro makes of a site with an obs_mask."""
    for split in sorted(latents):
        if (name := split.removesuffix("_unobserved")) != split:
            return (
                f". To leave out what is missing of {name!r}, write `with pyro.poutine.mask(mask=mask): "
                f"pyro.sample({name!r}, …, obs=x)` in place of obs_mask=mask; to draw it, sample {split!r} in the "
                "guide, under pyro.poutine.mask(mask=~mask)"
            )
    return ""


def _sum_them_out(names: Collection[str], model: Mapping[str, dict]) -> str:
    """Advice on discrete latents of the model alone; empty if some are not."""
    if not names or not all(model[n]["fn"].has_enumerate_support for n in names):
        return ""
    return (
        '; or, as they are discrete, sum them out: pyro.sample(…, infer={"enumerate": "parallel"}) in the model, and '
        "TraceEnum_ELBO() as the objective"
    )


def has_support(distribution: Distribution) -> bool:
    """Whether the support of the distribution is known."""
    try:
        return distribution.support is not None
    except NotImplementedError:
        return False


def support_of_elements(distribution: Distribution) -> constraints.Constraint:
    """The support of a distribution, of single elements where these are independent."""
    support = distribution.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def support_in_words(distribution: Distribution) -> str:
    """The support of a distribution in short, such as GreaterThan(lower_bound=0); of bounds per element, the range."""
    support = support_of_elements(distribution)
    bounds = {name: getattr(support, name, None) for name in ("lower_bound", "upper_bound")}
    if not any(isinstance(bound, Tensor) and bound.dim() for bound in bounds.values()):
        return str(support)
    shown = (f"{name}={in_words(torch.as_tensor(bound))}" for name, bound in bounds.items() if bound is not None)
    return f"{type(support).__name__.strip('_')}({', '.join(shown)})"


def in_words(value: Tensor) -> str:
    """A number, or the range of several, or one that is not finite."""
    if value.is_floating_point() and not value.isfinite().all():
        return f"{float(value[~value.isfinite()].flatten()[0]):g}"
    low, high = float(value.min()), float(value.max())
    return f"{low:g}" if low == high else f"in [{low:g}, {high:g}]"


def is_discrete(distribution: Distribution) -> bool:
    """Whether its values are integers, codes or labels, as far as is known."""
    distribution = unwrapped(distribution)
    return has_support(distribution) and bool(distribution.support.is_discrete)


def as_matrix(values: Tensor, site: dict, dim: int) -> Tensor:
    """Values of the shape of a site's as a matrix with one row per datapoint, whose plate is at ``dim``: (N, D)."""
    rows = values.movedim(dim - len(site["fn"].event_shape), 0)
    return rows.reshape(len(rows), -1)


def site_rows(name: str, site: dict, dim: int) -> tuple[Tensor, tuple[str, ...]]:
    """A site's value with one row per datapoint, and the names of the plates behind it.

    Raises:
        PairError: if a batch dimension is of no plate, and so has no name.
    """
    value, fn = site["value"], site["fn"]
    events = len(fn.event_shape)
    value = value.expand(*fn.batch_shape, *value.shape[value.dim() - events :])
    plates = {f.dim: f.name for f in site["cond_indep_stack"] if f.vectorized}
    others = [d for d in range(-len(fn.batch_shape), 0) if d != dim]
    kept = [d for d in others if d in plates]
    for d in others:
        if d not in plates and fn.batch_shape[d] > 1:
            raise PairError(
                f"site {name!r} has batch shape {tuple(fn.batch_shape)}, of which dimension {d} is of no pyro.plate, "
                "and so cannot be named: declare it with a plate, or make it part of the event by to_event"
            )
    order = [dim - events, *(d - events for d in kept), *range(-events, 0)]
    dropped = [d - events for d in others if d not in kept]
    rows = value.permute(*order, *dropped).flatten(len(order) - 1) if dropped else value.permute(*order)
    return rows, tuple(plates[d] for d in kept)
