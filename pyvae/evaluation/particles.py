"""Many samples of a pair's latents in one run, and the densities of its sites, one per sample and datapoint."""

from collections.abc import Callable, Collection, Sequence
from functools import partial

import pyro
import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor, nn

from pyvae.core.random_streams import isolated_rng
from pyvae.core.rows import copies
from pyvae.distributions import Weighted
from pyvae.errors import RUN_ERRORS, PairError
from pyvae.inspection.densities import LogTerms, density, log_terms
from pyvae.inspection.enumeration import enumerated_traces, marginal_terms
from pyvae.inspection.inspection import Inspection, trace_programs
from pyvae.inspection.sites import stochastic_sites

__all__ = ["check_weights", "choose_runner", "repeated_run"]

_PARTICLES = "pyvae_particles"


Runner = Callable[[nn.Module, Sequence[Tensor], int], LogTerms]
Look = Callable[[Trace, Trace], None]


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


def _checked(terms: LogTerms, num_particles: int, size: int) -> LogTerms:
    """The terms as (S, N), which they are unless a plate subsamples the data inside the programs."""
    shape = (num_particles, size)
    for part in (terms.reconstruction, terms.log_weight):
        if part.numel() != num_particles * size:
            raise PairError(
                f"the pair gave {part.numel()} weights for {num_particles} particles of {size} datapoints: it must not "
                "subsample the data itself"
            )

    def whole(part: Tensor) -> Tensor:  # a term that is the same for all data may have no dimension for them
        return part.reshape(shape) if part.numel() == num_particles * size else part.expand(shape)

    return LogTerms(whole(terms.reconstruction), {name: whole(part) for name, part in terms.latents.items()})


def _vectorized(dim: int, nesting: int) -> Runner:
    """Particles in a plate of their own, to the left of all others."""

    def run(pair: nn.Module, args: Sequence[Tensor], num_particles: int, look: Look | None = None) -> LogTerms:
        around = partial(pyro.plate, _PARTICLES, num_particles, dim=-1 - nesting)
        guide, model = trace_programs(pair, args, around)
        if look:
            look(guide, model)
        return _checked(log_terms(guide, model, (-1 - nesting, dim)), num_particles, len(args[0]))

    return run


def _repeated(dim: int, columns: Collection[int]) -> Runner:
    """Particles as copies of the data, for programs that take exactly one batch dimension."""

    def run(pair: nn.Module, args: Sequence[Tensor], num_particles: int, look: Look | None = None) -> LogTerms:
        return repeated_run(pair, args, num_particles, dim, columns, look)[0]

    return run


def _summed(dim: int, nesting: int, columns: Collection[int]) -> Runner:
    """Particles as copies of the data, with the latents that the model enumerates summed out."""

    def run(pair: nn.Module, args: Sequence[Tensor], num_particles: int, look: Look | None = None) -> LogTerms:
        guide, model = enumerated_traces(pair, copies(args, num_particles, columns), nesting)
        if look:
            look(guide, model)
        return _checked(marginal_terms(guide, model, dim), num_particles, len(args[0]))

    return run


def repeated_run(
    pair: nn.Module,
    args: Sequence[Tensor],
    num_particles: int,
    dim: int,
    columns: Collection[int] | None = None,
    look: Look | None = None,
) -> tuple[LogTerms, Trace]:
    """The terms of particles as copies of the data, and the trace of the model, whose rows are S times N."""
    guide, model = trace_programs(pair, copies(args, num_particles, columns))
    if look:
        look(guide, model)
    return _checked(log_terms(guide, model, (dim,)), num_particles, len(args[0])), model


def choose_runner(inspection: Inspection, num_particles: int) -> Runner:
    """The vectorized run where the pair's networks take another leading dimension, else the repeated one.

    Both are exact. A network that reads the new dimension as something else (a softmax over dim 1, a batch norm, a
    reshape) need not fail, nor need a program that draws without Pyro's knowledge; so every density of a vectorized
    run is compared with that of a run of one particle alone.
    """
    _, dim = inspection.plate
    if inspection.summed_out:
        return _summed(dim, inspection.max_plate_nesting, inspection.columns)
    if num_particles == 1:
        return _repeated(dim, inspection.columns)
    nesting = inspection.max_plate_nesting
    try:
        with isolated_rng():
            agree = _particles_agree(inspection, nesting, dim)
    except RUN_ERRORS:
        agree = False
    return _vectorized(dim, nesting) if agree else _repeated(dim, inspection.columns)


def _particles_agree(inspection: Inspection, nesting: int, dim: int, count: int = 3) -> bool:
    """Whether all sites of both programs have the same densities with particles side by side and one at a time."""
    pair, args = inspection.pair, inspection.arguments
    with pyro.plate(_PARTICLES, count, dim=-1 - nesting):
        guide = poutine.trace(pair.guide).get_trace(*args)
    particles = {name: guide.nodes[name]["value"] for name in (*inspection.latents, *inspection.auxiliary)}
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
