"""Runs of a pair's programs on some of its rows, with the latents of each row as they were."""

from collections.abc import Sequence

import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine import Trace
from torch import Tensor, nn

from pyvae.inspection.densities import density
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import stochastic_sites, unwrapped

__all__ = ["Sites", "agree", "conditioned_run", "is_in_batch", "moved", "place_of", "program_sites"]

Sites = dict[tuple[str, str], dict]  # by program and name
_TOLERANCE = {"rtol": 1e-4, "atol": 5e-4}  # of rounding in another order, which networks magnify


def conditioned_run(pair: nn.Module, args: Sequence[object], latents: dict[str, Tensor]) -> Sites:
    """The sites of both programs with these latents."""
    programs = (pair.guide, pair.model)
    return program_sites([poutine.trace(poutine.condition(p, data=latents)).get_trace(*args) for p in programs])


def program_sites(traces: Sequence[Trace]) -> Sites:
    """The sites of a guide's trace and a model's."""
    return {
        (program, name): site
        for program, trace in zip(("guide", "model"), traces, strict=True)
        for name, site in stochastic_sites(trace).items()
    }


def place_of(many: dict, few: dict) -> int | None:
    """The dimension of a site's rows, counted from the right: the only one that differs in a run on fewer rows."""
    shapes = [site["fn"].batch_shape + site["fn"].event_shape for site in (many, few)]
    return _differing(*shapes)


def _differing(many: torch.Size, few: torch.Size) -> int | None:
    found = [d for d in range(-len(many), 0) if len(many) == len(few) and many[d] != few[d]]
    return found[0] if len(found) == 1 else None


def moved(inspection: Inspection, few: Sites, rows: Tensor) -> dict[str, Tensor]:
    """The latents of these rows; those that are of no row stay."""
    values = {}
    sites = stochastic_sites(inspection.model) | stochastic_sites(inspection.guide)
    for name, site in sites.items():
        value, one = site["value"], few.get(("guide", name), few.get(("model", name)))
        if one is None or site["is_observed"]:
            continue
        place = _differing(value.shape, one["value"].shape)
        values[name] = value if place is None else value.index_select(place, rows.to(value.device))
    return values


def is_in_batch(site: dict, place: int) -> bool:
    """Whether rows are of the batch shape, with a density each, and not of the event shape."""
    return place + len(site["fn"].event_shape) < 0


def agree(base: dict, other: dict, place: int, rows: Tensor | None = None) -> bool:
    """Whether two runs of a site say the same of these rows (None: of all)."""
    one, two = _figures(base, place), _figures(other, place)
    one = one if rows is None else [a[rows.to(a.device)] if a.dim() else a for a in one]
    figures = zip(one, two, strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, **_TOLERANCE, equal_nan=True) for a, b in figures)


def _figures(site: dict, place: int) -> list[Tensor]:
    """What a site says of each row: its density, and where all mass is on one point, that point.

    Of rows that are part of the event there is one density.
    """
    fn, figures = site["fn"], []
    if isinstance(unwrapped(fn), Delta):
        site = {**site, "value": fn()}
        figures = [site["value"].movedim(place, 0).double()]
    if not is_in_batch(site, place):
        return [*figures, density(site, (-1,)).sum()]
    return [*figures, density(site, (place + len(fn.event_shape),))]
