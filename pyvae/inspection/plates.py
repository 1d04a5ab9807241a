"""The plate over the data."""

import math
from collections.abc import Callable, Iterable, Mapping

from pyvae.errors import PairError
from pyvae.inspection.sites import PARTICLES, unwrapped

__all__ = [
    "check_plates",
    "choose_plate",
    "plate_factor",
    "plate_of_all",
    "plates_around",
    "refuse_loops",
    "refuse_parts",
    "to_event_advice",
]

Plate = tuple[str, int, int, int]


def plate_factor(site: Mapping) -> float:
    """The factor by which the plates around a site make the part that they take of the data stand for all of them."""
    return math.prod((frame.full_size or frame.size) / frame.size for frame in site["cond_indep_stack"])


def plates_around(
    sites: Iterable[tuple[object, Mapping]], keep: Callable[[Plate], bool] = lambda plate: True
) -> tuple[set[Plate], object | None]:
    """The vectorized plates that hold all of these sites, but those of particles.

    Args:
        sites: with a key each.
        keep: which plates count.

    Returns:
        Name, dim, size and full size (that of the data which a plate takes a part of) of each; and, where there is
        none, the key of the first site outside.
    """
    common: set[Plate] | None = None
    for key, site in sites:
        frames = [f for f in site["cond_indep_stack"] if f.vectorized and f.name != PARTICLES]
        sizes = [(f.size, f.full_size or f.size) if f.size > 0 else (_length(site, f.dim),) * 2 for f in frames]
        here = {(f.name, f.dim, *size) for f, size in zip(frames, sizes, strict=True)}
        here = set(filter(keep, here))
        common = here if common is None else common & here
        if not common:
            return set(), key
    return common or set(), None


def _length(site: Mapping, dim: int) -> int:
    """The length of a site in a plate that was declared without a size."""
    shape = site["fn"].batch_shape
    return shape[dim] if len(shape) >= -dim else 1


def refuse_loops(program: str, sites: Mapping[str, Mapping], size: int) -> None:
    """Refuse sites that a program draws one datapoint at a time, outside of all vectorized plates.

    Raises:
        PairError: naming the site, and the lines to write.
    """
    for name, site in sites.items():
        frames = site["cond_indep_stack"]
        loops = [f.name for f in frames if not f.vectorized and size in (f.size, f.full_size)]
        if loops and not any(f.vectorized and size in (f.size, f.full_size, _length(site, f.dim)) for f in frames):
            raise PairError(
                f"site {name!r} of the {program} is one of a loop over the data, for … in pyro.plate({loops[0]!r}, …): "
                f"vectorize it, with pyro.plate({loops[0]!r}, len(x)): and one pyro.sample of all rows together"
            )


def to_event_advice(site: Mapping) -> str:
    """What to write where a site has more batch dimensions than plates around it; empty if it has not."""
    fn = site["fn"]
    shape = tuple(site["value"].shape if site["is_observed"] else fn.shape())
    plates = max((-f.dim for f in site["cond_indep_stack"] if f.vectorized), default=0)
    events = len(shape) - plates - len(unwrapped(fn).event_shape)
    if not plates or len(fn.batch_shape) <= plates or events < 1:
        return ""
    return f". Its values have shape {shape}: use .to_event({events}), so that {shape[plates:]} is the event"


def choose_plate(plates: set[tuple]) -> tuple:
    """The plate over the data among those that hold every site, given as tuples that begin with a name.

    Raises:
        PairError: if there are several, and none is called "data".
    """
    named = {p for p in plates if p[0] == "data"}
    if len(plates) > 1 and not named:
        raise PairError(f"several plates could be the one over the data: {sorted(plates)}; name that one 'data'")
    return min(named or plates)


def plate_of_all(guide: Mapping[str, Mapping], model: Mapping[str, Mapping], size: int) -> tuple[str, int]:
    """The name and dim of the plate that holds every site of both programs, one datapoint per index.

    Args:
        guide: the sites of the guide that have a density.
        model: those of the model.
        size: the number of datapoints.

    Raises:
        PairError: if there is none.
    """
    sites = {("guide", name): site for name, site in guide.items()}
    sites |= {("model", name): site for name, site in model.items()}
    for program, its in (("guide", guide), ("model", model)):
        refuse_loops(program, its, size)
    plates, outside = plates_around(sites.items(), lambda plate: plate[2] == size)
    if outside:
        program, name = outside
        fn = sites[program, name]["fn"]
        raise PairError(
            f"site {name!r} of the {program} lies outside of the data plate: batch shape {tuple(fn.batch_shape)} and "
            f"event shape {tuple(fn.event_shape)} for {size} data. Weights per datapoint exist only if one pyro.plate "
            f"over the data holds every site{to_event_advice(sites[program, name])}"
        )
    return choose_plate({plate[:2] for plate in plates})


def check_plates(guide: Mapping[str, Mapping], model: Mapping[str, Mapping]) -> None:
    """Refuse plates by which the two programs would scale their densities differently; no ELBO is a sum of such.

    Args:
        guide: the sites of the guide that have a density.
        model: those of the model.

    Raises:
        PairError: naming the plate, or the site.
    """
    plates = [
        {f.name: f for s in sites.values() for f in s["cond_indep_stack"] if f.vectorized} for sites in (guide, model)
    ]
    for name in plates[0].keys() & plates[1].keys():
        here, there = (p[name] for p in plates)
        for what, q, p in (("size", *(f.full_size or f.size for f in (here, there))), ("dim", here.dim, there.dim)):
            if q != p and -1 not in (q, p):  # that of a plate without a size, which scales nothing
                raise PairError(
                    f"plate {name!r} has {what} {p} in the model and {what} {q} in the guide, which scales their "
                    f"densities differently; write the same in both: pyro.plate({name!r}, len(x)) or, with the "
                    f"number N of all data, pyro.plate({name!r}, N, subsample=x)"
                )
    for name in guide.keys() & model.keys():
        q, p = (plate_factor(sites[name]) for sites in (guide, model))
        if not math.isclose(q, p, rel_tol=1e-6):
            raise PairError(
                f"plates multiply the density of site {name!r} by {p:g} in the model and by {q:g} in the guide; put it "
                "into plates of the same size and the same subsample in both"
            )


def refuse_parts(model: Mapping[str, Mapping], data_plate: str) -> None:
    """Refuse plates that take a part of what belongs to one datapoint: a bound of a part is none of the whole.

    Raises:
        PairError: naming the plate.
    """
    for name, site in model.items():
        for frame in site["cond_indep_stack"]:
            if frame.name != data_plate and frame.full_size not in (None, -1, frame.size):
                raise PairError(
                    f"site {name!r} lies in the plate {frame.name!r}, which takes {frame.size} of {frame.full_size}: "
                    "figures per datapoint need all of them; leave subsample_size out when the pair is evaluated, such "
                    "as by subsample_size=2 if self.training else None"
                )
