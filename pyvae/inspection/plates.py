"""The plate over the data."""

from pyvae.errors import PairError
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import check_latents, stochastic_sites

__all__ = ["check_sites", "choose_plate"]


def choose_plate(plates: set[tuple]) -> tuple:
    """The plate over the data among those that hold every site, given as tuples that begin with a name.

    Raises:
        PairError: if there are several, and none is called "data".
    """
    named = {p for p in plates if p[0] == "data"}
    if len(plates) > 1 and not named:
        raise PairError(f"several plates could be the one over the data: {sorted(plates)}; name that one 'data'")
    return min(named or plates)


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
                f"{tuple(site['fn'].batch_shape)} and event shape {tuple(site['fn'].event_shape)} for {size} "
                "datapoints. Weights per datapoint exist only if one pyro.plate over the data holds every site"
            )
    return choose_plate(plates)
