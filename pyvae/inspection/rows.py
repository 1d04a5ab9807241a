"""Whether what a pair says of a row of data depends on its place in a batch, or on the rows beside it."""

from contextlib import suppress
from dataclasses import dataclass, replace

import pyro
import torch
from torch import Tensor

from pyvae.core.rows import rows_of
from pyvae.errors import RUN_ERRORS, PairError, first_lines
from pyvae.inspection.inspection import Inspection, trace_programs
from pyvae.inspection.own_rows import ROWS_ADVICE, of_rows
from pyvae.inspection.perturbation import is_repeated, perturbed
from pyvae.inspection.row_runs import Sites, agree, conditioned_run, is_in_batch, moved, place_of, program_sites
from pyvae.inspection.sites import stochastic_sites

__all__ = ["Dependence", "check_rows", "dependence_on_rows", "global_latents", "in_plate"]

_HALF = 2  # rows


@dataclass(frozen=True)
class Dependence:
    """On what but the row itself the densities of a row depend.

    Attributes:
        found: the first half of a sentence.
        on_place: whether it is the place of a row among the others alone, which all rows in their order have.
    """

    found: str
    on_place: bool = False

    def __str__(self) -> str:
        return self.found


def check_rows(inspection: Inspection, whole: bool = False) -> None:
    """Refuse pairs whose densities of a row would depend on how the data are cut into parts.

    Args:
        inspection: of the pair.
        whole: whether the data are not cut, so that each row has its place.

    Raises:
        PairError: naming the site.
    """
    found = dependence_on_rows(inspection)
    if found and not (whole and found.on_place):
        raise PairError(f"{found}; the figures would depend on how the data are cut into parts. Instead, {ROWS_ADVICE}")


def dependence_on_rows(inspection: Inspection) -> Dependence | None:
    """Whether the densities of a row depend on anything but the row itself.

    Both programs run on some rows of the inspection, and on fewer of these in another order, with the latents of each
    row as they were. Parameters that are the same for all rows at the start, as zeros are, would hide what they are
    for: some noise is on them meanwhile. Batch norm is in evaluation mode.
    """
    if inspection.size < 2:
        return None
    for seed in (0, 1):  # what rounding alone does to a code that is chosen is not found twice
        found = _compared(inspection, seed)
        if found is None:
            return None
    rows = inspection.size
    names = of_rows(inspection.pair, rows)
    return replace(found, found=f"{found} (the parameters {names} have {rows} rows)") if names else found


def global_latents(inspection: Inspection) -> list[str]:
    """The latents that are one for all data: the same number of them, however many rows there are."""
    some = torch.arange(max(1, inspection.size // 2))
    names = [n for n in inspection.latents if not in_plate(inspection.model.nodes[n], inspection.data_plate)]
    if not names or inspection.size < 2:
        return names
    try:
        with inspection.at_rest():
            args = rows_of(inspection.arguments, some, inspection.columns)
            few = program_sites(trace_programs(inspection.pair, args))
    except RUN_ERRORS:  # it takes all rows alone, as a Gaussian process does
        return names
    shapes = {name: site["value"].shape for (_, name), site in few.items()}
    return [n for n in names if shapes.get(n) == inspection.model.nodes[n]["value"].shape]


def in_plate(site: dict, data_plate: str | None) -> bool:
    """Whether it is in the plate over the data, or in a loop over them."""
    return any(f.name == data_plate or not f.vectorized for f in site["cond_indep_stack"])


def _compared(inspection: Inspection, seed: int) -> Dependence | None:
    """What runs on some of the rows show; without the noise, if the programs do not stand it."""
    store = pyro.get_param_store()
    with inspection.at_rest(seed), pyro.validation_enabled(False):
        own = [*inspection.pair.parameters(), *(store[n].unconstrained() for n in inspection.stray if n in store)]
        for noisy in ([p for p in own if is_repeated(p)], []):
            with suppress(*RUN_ERRORS), perturbed(noisy, seed):
                return _difference(inspection)
    return None


def _difference(inspection: Inspection) -> Dependence | None:
    """What differs between a run on some rows and one on fewer of them in another order."""
    pair, half = inspection.pair, max(_HALF, *_drawn_rows(inspection), 0)
    chosen = _distinct_rows(inspection.arguments[0], 2 * half)
    size = len(chosen)
    rows = torch.arange(size)
    halves = rows.flip(0).split(min(half, size - 1))  # what is the largest of all is in one of them alone

    def args(rows: Tensor) -> list[Tensor]:
        return rows_of(inspection.arguments, chosen[rows], inspection.columns)

    def run(rows: Tensor) -> Sites:
        return conditioned_run(pair, args(rows), moved(inspection, few, chosen[rows]))

    try:
        few = program_sites(trace_programs(pair, args(halves[0])))
        base, parts = run(rows), [run(half) for half in halves]
        for key, site in base.items():
            place = place_of(site, parts[0].get(key, site))
            if place is None:
                continue
            alike = (agree(site, part[key], place, half) for part, half in zip(parts, halves, strict=True))
            if is_in_batch(site, place) and all(alike):
                continue
            again, turned = run(rows), run(rows.flip(0))
            if not agree(site, again[key], place):
                continue  # it has a random stream of its own
            if not agree(site, turned[key], place, rows.flip(0)):
                return Dependence(f"the density of a row at site {key[1]!r} of the {key[0]} depends on its place", True)
            if is_in_batch(site, place):
                return Dependence(
                    f"the density of a row at site {key[1]!r} of the {key[0]} depends on the other rows of the batch: "
                    "a sum, mean or maximum is over all rows where it should be over the numbers of each, as x.sum(-1)"
                )
    except RUN_ERRORS as error:
        kind, fewer = type(pair).__name__, f"{len(halves[0])} of them"
        return Dependence(f"{kind} takes {inspection.size} rows together, but not {fewer}: {first_lines(error)}")
    return None


def _distinct_rows(data: Tensor, count: int) -> Tensor:
    """So many rows, as far as there are, those first that differ: the same rows would have the same mean."""
    distinct: list[int] = []
    for index, row in enumerate(data):
        if len(distinct) < count and not any(torch.equal(row, data[other]) for other in distinct):
            distinct.append(index)
    others = [index for index in range(len(data)) if index not in distinct]
    return torch.tensor([*distinct, *others][:count])


def _drawn_rows(inspection: Inspection) -> list[int]:
    """How many rows the plates take that draw some of those given, which must be as many at least."""
    sites = stochastic_sites(inspection.model).values()
    frames = (f for site in sites for f in site["cond_indep_stack"] if f.full_size == inspection.size)
    return [f.size for f in frames if f.size < inspection.size]
