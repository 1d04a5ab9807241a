"""Many draws of the latents of any pair in one run, and the densities of its sites, one per draw and datapoint."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor, nn

from pyvae.distributions import Weighted
from pyvae.errors import RUN_ERRORS, PairError
from pyvae.inspection import Inspection, check_latents, choose_plate, stochastic_sites, summed_but
from pyvae.isolation import preserved_streams

__all__ = [
    "PROBE_ROWS",
    "LogTerms",
    "check_sites",
    "check_weights",
    "choose_runner",
    "columns_of",
    "copies",
    "density",
    "repeated_run",
    "rows_of",
]

PROBE_ROWS = 11  # of a trial run: few, and unlikely to be the size of another plate
_PARTICLES = "pyvae_particles"


@dataclass(frozen=True)
class LogTerms:
    """The parts of a log weight, (S, N) float64 each.

    Attributes:
        reconstruction: log p(x | z), over all observed sites and factors of the model.
        latents: log p(z_i | …) − log q(z_i | …) of each latent site, by name; and minus each factor of the guide.
    """

    reconstruction: Tensor
    latents: dict[str, Tensor]

    @property
    def log_weight(self) -> Tensor:
        """log p(x, z) − log q(z | x), (S, N)."""
        return self.reconstruction + sum(self.latents.values())


Runner = Callable[[nn.Module, Sequence[Tensor], int], LogTerms]


def check_sites(inspection: Inspection, size: int) -> tuple[str, int]:
    """The name and dim of the plate that holds every site of both programs, one datapoint per index.

    Raises:
        PairError: if there is none, or guide and model do not have the same latent sites.
    """
    guide, model = stochastic_sites(inspection.guide), stochastic_sites(inspection.model)
    check_latents(guide, model)
    if not inspection.observed:
        raise PairError("the model observes nothing when it is given data; expected a sample site with obs=x")
    plates: set[tuple[str, int]] | None = None
    for program, name, site in [("guide", *i) for i in guide.items()] + [("model", *i) for i in model.items()]:
        here = {(f.name, f.dim) for f in site["cond_indep_stack"] if f.vectorized and f.size == size}
        plates = here if plates is None else plates & here
        if not plates:
            raise PairError(
                f"site {name!r} of the {program} lies outside of the data plate: batch shape "
                f"{tuple(site['fn'].batch_shape)} and event shape {tuple(site['fn'].event_shape)} for {size} data. "
                "Weights per datapoint exist only if one pyro.plate over the data holds every site"
            )
    return choose_plate(plates)


def check_weights(inspection: Inspection) -> None:
    """Refuse pairs whose terms stand for others, such as a single step of a diffusion, where densities are needed.

    Raises:
        PairError: naming the site.
    """
    for trace in (inspection.guide, inspection.model):
        for name, site in stochastic_sites(trace).items():
            if isinstance(site["fn"], Weighted):
                raise PairError(
                    f"site {name!r} has a weighted density, an estimate of the ELBO's terms: importance weights are "
                    "undefined for it; use elbo, or the pair that it is an estimate of (pair.diffusion)"
                )


def density(site: dict, dims: Sequence[int]) -> Tensor:
    """log density of a site, unscaled, summed in float64 over all batch dimensions but ``dims``.

    Independent event dimensions are summed here, not in the distribution: a float32 sum over the pixels of an image
    loses the digits that importance weights of a good guide consist of.
    """
    fn, value, events = site["fn"], site["value"], 0
    while isinstance(fn, torch.distributions.Independent):
        events += fn.reinterpreted_batch_ndims
        fn = fn.base_dist
    log_prob = fn.log_prob(value)
    if events:
        log_prob = _summed(log_prob.flatten(-events))
    return summed_but(scale_and_mask(log_prob.double(), mask=site["mask"]), dims)


def _summed(log_prob: Tensor) -> Tensor:
    """The sum over the last dimension in float64: of sums of eight, as to convert all numbers takes long."""
    eights = log_prob.shape[-1] // 8 * 8
    parts = log_prob[..., :eights].unflatten(-1, (-1, 8)).sum(-1)
    return parts.sum(-1, dtype=torch.float64) + log_prob[..., eights:].sum(-1, dtype=torch.float64)


def _terms(guide: Trace, model: Trace, dims: Sequence[int]) -> LogTerms:
    """Sum the sites of both traces; the kept ``dims`` are those of particles and data, in this order."""
    reconstruction, latents = 0.0, {}
    for name, site in stochastic_sites(model).items():
        if site["is_observed"]:
            reconstruction = reconstruction + density(site, dims)
        else:
            latents[name] = density(site, dims)
    for name, site in stochastic_sites(guide).items():  # factors too: Pyro's objectives count them as part of log q
        latents[name] = latents.get(name, 0.0) - density(site, dims)
    return LogTerms(reconstruction, latents)


def _checked(terms: LogTerms, num_particles: int, size: int) -> LogTerms:
    """The terms as (S, N), which they are unless a plate subsamples the data inside the programs."""
    shape = (num_particles, size)
    for part in (terms.reconstruction, terms.log_weight):
        if part.numel() != num_particles * size:
            raise PairError(
                f"the pair gave {part.numel()} weights for {num_particles} particles of {size} data: it must not "
                "subsample the data itself"
            )

    def whole(part: Tensor) -> Tensor:  # a term that is the same for all data may have no dimension for them
        return part.reshape(shape) if part.numel() == num_particles * size else part.expand(shape)

    return LogTerms(whole(terms.reconstruction), {name: whole(part) for name, part in terms.latents.items()})


def _vectorized(dim: int, nesting: int) -> Runner:
    """Particles in a plate of their own, to the left of all others."""

    def run(pair: nn.Module, args: Sequence[Tensor], num_particles: int) -> LogTerms:
        with pyro.plate(_PARTICLES, num_particles, dim=-1 - nesting):
            guide = poutine.trace(pair.guide).get_trace(*args)
        with pyro.plate(_PARTICLES, num_particles, dim=-1 - nesting):
            model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(*args)
        return _checked(_terms(guide, model, (-1 - nesting, dim)), num_particles, len(args[0]))

    return run


def _repeated(dim: int, columns: Collection[int]) -> Runner:
    """Particles as copies of the data, for programs that take exactly one batch dimension."""

    def run(pair: nn.Module, args: Sequence[Tensor], num_particles: int) -> LogTerms:
        return repeated_run(pair, args, num_particles, dim, columns)[0]

    return run


def repeated_run(
    pair: nn.Module, args: Sequence[Tensor], num_particles: int, dim: int, columns: Collection[int] | None = None
) -> tuple[LogTerms, Trace]:
    """The terms of particles as copies of the data, and the trace of the model, whose rows are S times N."""
    repeated = copies(args, num_particles, columns)
    guide = poutine.trace(pair.guide).get_trace(*repeated)
    model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(*repeated)
    return _checked(_terms(guide, model, (dim,)), num_particles, len(args[0])), model


def columns_of(args: Sequence[Tensor]) -> tuple[int, ...]:
    """The positions of the arguments that have one row per datapoint, as many as the first."""
    return tuple(i for i, a in enumerate(args) if isinstance(a, Tensor) and a.dim() and len(a) == len(args[0]))


def rows_of(args: Sequence[Tensor], rows: slice | Tensor, columns: Collection[int] | None = None) -> list[Tensor]:
    """The given rows of every argument that has one row per datapoint; ``columns`` as for :func:`copies`."""
    columns = columns_of(args) if columns is None else columns
    return [a[rows] if i in columns else a for i, a in enumerate(args)]


def copies(args: Sequence[Tensor], count: int, columns: Collection[int] | None = None) -> list[Tensor]:
    """The arguments with all data so many times over: all rows once, then all again.

    Args:
        args: the arguments of a pair's programs.
        count: how many times.
        columns: which of them have one row per datapoint; to be told where these are a few rows of the data, since a
            constant may happen to have as many.
    """
    columns = columns_of(args) if columns is None else columns
    return [a.repeat(count, *[1] * (a.dim() - 1)) if i in columns else a for i, a in enumerate(args)]


def choose_runner(
    pair: nn.Module,
    args: Sequence[Tensor],
    columns: Collection[int],
    num_particles: int,
    plate: tuple[str, int],
    inspection: Inspection,
) -> Runner:
    """The vectorized run where the pair's networks take another leading dimension, else the repeated one.

    Both are exact. A network that reads the new dimension as something else (a softmax over dim 1, a batch norm, a
    reshape) need not fail, nor need a program that draws without Pyro's knowledge; so every density of a vectorized
    run is compared with that of a run of one particle alone.
    """
    _, dim = plate
    if num_particles == 1:
        return _repeated(dim, columns)
    nesting = inspection.max_plate_nesting
    try:
        with preserved_streams():
            agree = _particles_agree(pair, args, nesting, dim, inspection.latents)
    except RUN_ERRORS:
        agree = False
    return _vectorized(dim, nesting) if agree else _repeated(dim, columns)


def _particles_agree(
    pair: nn.Module, args: Sequence[Tensor], nesting: int, dim: int, latents: Sequence[str], count: int = 3
) -> bool:
    """Whether all sites of both programs have the same densities with particles side by side and one at a time."""
    with pyro.plate(_PARTICLES, count, dim=-1 - nesting):
        guide = poutine.trace(pair.guide).get_trace(*args)
    particles = {name: guide.nodes[name]["value"] for name in latents}
    with pyro.plate(_PARTICLES, count, dim=-1 - nesting):
        model = poutine.trace(poutine.condition(pair.model, data=particles)).get_trace(*args)
    for index in range(count):
        one = {name: value[index] for name, value in particles.items()}
        for program, together in ((pair.guide, guide), (pair.model, model)):
            alone = poutine.trace(poutine.condition(program, data=one)).get_trace(*args)
            for name, site in stochastic_sites(together).items():
                many, single = density(site, (-1 - nesting, dim)), density(alone.nodes[name], (dim,))
                many = many[index] if many.shape[0] == count else many[0]
                if not torch.allclose(many, single, rtol=1e-5, atol=1e-4, equal_nan=True):
                    return False
    return True
