"""The conversion of any pair on data to ArviZ."""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from torch import nn

from pyvae.batching.batches import Data, batches_for, inspect_data
from pyvae.batching.order import check_order
from pyvae.core.arguments import check_int
from pyvae.core.random_streams import seeded_rng
from pyvae.errors import ArgumentError, PairError, errors_as
from pyvae.evaluation.arviz_bridge import container
from pyvae.evaluation.evaluate import check_bound, has_weights
from pyvae.evaluation.observed import ObservedNumbers
from pyvae.inference_data.dimensions import DimensionNames
from pyvae.inference_data.draws import Drawer
from pyvae.inference_data.groups import BOUND, DRAWING, GroupCollector, Options, constant_arguments
from pyvae.inspection.enumeration import refuse_summed_out
from pyvae.inspection.generation import reads_data
from pyvae.inspection.inspection import Inspection
from pyvae.inspection.sites import site_rows

__all__ = ["to_inference_data"]

_ROWS = 64  # of a batch
_PREDICTIVE = ("posterior_predictive", "prior", "prior_predictive")
_CONDITIONAL = (
    "log p(x | z) given latents of the same datapoint, not the predictive density of x: leave-one-out and WAIC "
    "computed from it do not estimate how well new data are predicted"
)
_READS_DATA = "the model's samples depend on the data that it is given, so that it cannot draw data of its own"


def to_inference_data(
    pair: nn.Module,
    data: Data,
    num_samples: int = 100,
    *,
    predictive: tuple[int, int] | None = (20, 50),
    sites: Sequence[str] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    log_likelihood: bool = False,
    seed: int | None = None,
    max_memory: int = 2**30,
) -> Any:
    r"""Convert a pair on data to ArviZ: samples, log densities, predictive samples, data and figures.

    .. math:: z_{sn} \sim q(z \mid x_n), \quad \text{with } \log p(x_n, z_{sn}) \text{ and } \log q(z_{sn} \mid x_n)

    Groups, whose arrays have the dimensions (chain, draw, obs_id, …), with one chain, and with no draws (obs_id, …):

    - ``posterior``: the latents; ``sample_stats``: log p(x, z) as ``lp``, ``log_q``, and ``log_weight``, their
      difference, in nats;
    - ``posterior_predictive``: samples of p(x | z_{sn}); ``prior``, ``prior_predictive``: of p(z) p(x | z), given the
      contexts of the same data; all three of the first draws and data alone, as ``predictive`` says;
    - ``observed_data``, and as ``constant_data`` the further tensors of the data with a row for each, such as labels;
    - ``figures``: of each datapoint the ELBO, its terms, the importance-weighted bound, Pareto's k̂ (of 25 draws or
      more) and the effective sample size (Σ w)² / Σ w², from the same draws; their means over the data are attributes.

    Works on any pair whose sites lie in one data plate. Codes and other discrete latents are integers. Elements that do
    not count, as they are masked or, in the data, NaN, are NaN in all groups, new data at the places of the given ones;
    integers of a site that has a mask are floats, as xarray makes of integers where some are missing. A group
    ``log_likelihood`` is not made unasked, as ArviZ would compare models by it, and of log p(x | z) that is wrong.

    Args:
        pair: a module with ``model`` and ``guide``.
        data: as for :func:`pyvae.fit`; a ``DataLoader`` must keep their order, but for a stream, whose ``obs_id`` is
            that of arrival.
        num_samples: the number S of draws per datapoint.
        predictive: the number of draws, and of data, in the three predictive groups; None for none.
        sites: the latents to keep; by default all.
        dims: names for the event dimensions of a variable, such as ``{"x": ["channel", "row", "column"]}``; by default
            x_dim_0, x_dim_1, … Plates within that of the data are dimensions by their own names.
        coords: coordinates by dimension, that of the data, ``obs_id``, included; by default 0, 1, …
        log_likelihood: add the group, of log p(x_n | z_{sn}).
        seed: of all draws; without one, as for :func:`pyvae.fit`. It is an attribute of what is returned.
        max_memory: the most bytes that may be returned; about twice as many are taken meanwhile.

    Returns:
        An ``arviz.InferenceData`` (ArviZ 0.x) or an ``xarray.DataTree`` (ArviZ 1.x).

    Raises:
        PairError: if a site lies outside the data plate or has a dimension of no plate; if guide and model do not
            have the same latents; if the guide puts all mass on one point where the model has a density.
        DataError: as :func:`pyvae.log_weights`; if a ``DataLoader`` gives its rows in an order of its own.
        ArgumentError: if more than ``max_memory`` would be returned, or an argument does not fit the pair.

    Warns:
        UserWarning: if the model reads its data other than to observe them; the predictive groups are left out then.

    References:
        ArviZ's *InferenceData schema specification*; Vehtari et al., *Pareto smoothed importance sampling*, 2024.

    Example:
        >>> import pyvae
        >>> import torch
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> tree = to_inference_data(vae, torch.rand(7, 5).round(), num_samples=30, seed=0)
        >>> tree.posterior["z"].dims
        ('chain', 'draw', 'obs_id', 'z_dim_0')
        >>> tree.posterior_predictive["x"].shape
        (1, 20, 7, 5)
    """
    for name, value in (("num_samples", num_samples), ("max_memory", max_memory)):
        check_int(name, value)
    new_draws, new_rows = _predictive(predictive, num_samples)
    named = bool(coords) and "obs_id" in coords
    check_order(data, "coordinates of obs_id" if named else "data, numbered by obs_id,", stream=not named)
    batches = batches_for(pair, data, _ROWS)
    inspection = inspect_data(pair, batches)
    refuse_summed_out(inspection, "the posterior")
    check_bound(inspection)
    with seeded_rng(seed) as seed:
        plate = inspection.plate
        kept, weighted = _chosen(sites, inspection), has_weights(inspection)
        options = Options(num_samples, new_draws, new_rows, kept, weighted, bool(log_likelihood), max_memory)
        options.check_memory(inspection, batches.size() or 1)
        constants = constant_arguments(inspection)
        layout = _layout(inspection, plate[1], (kept, constants), dims, coords, batches.size())
        with inspection.at_rest():
            drawer = Drawer(inspection, kept)
            with errors_as(PairError, f"{type(pair).__name__} failed {DRAWING}"):
                left_out = _READS_DATA if new_draws and reads_data(pair, inspection.arguments) else ""
            if left_out:
                warnings.warn(f"{left_out}: {', '.join(_PREDICTIVE)} are left out", stacklevel=2)
                options = replace(options, new_draws=0)
            collector = GroupCollector(pair, drawer, options, constants)
            observed = ObservedNumbers(inspection, data)
            for batch in batches.in_order():
                observed.add(batch)
                collector.add(batch)
                options.check_memory(inspection, collector.size)  # of a stream, the size is not known before
    origin = _origin()
    layout = replace(layout, size=collector.size, attributes=origin)
    settings = {"seed": seed, "num_samples": num_samples, "data_plate": plate[0], "left_out": left_out}
    return container(_groups(collector, layout, observed, options), {**origin, **_described(pair), **settings})


def _groups(
    collector: GroupCollector, layout: DimensionNames, observed: ObservedNumbers, options: Options
) -> dict[str, Any]:
    """The groups as data sets, in ArviZ's order; those without variables are left out."""
    groups = {"posterior": layout.draws(collector.group("posterior"))}
    new = {
        "num_data": min(options.new_rows, collector.size),
        "num_draws": options.new_draws,
        "comment": f"of the first {options.new_draws} draws and the first {options.new_rows} data alone",
    }
    for name in _PREDICTIVE:
        if options.new_draws:
            groups[name] = layout.draws(collector.group(name), **new)
    groups["sample_stats"] = layout.draws(collector.group("sample_stats"))
    if options.log_likelihood:
        groups["log_likelihood"] = layout.draws(collector.group("log_likelihood"), warning=_CONDITIONAL)
    for name in ("observed_data", "constant_data"):
        groups[name] = layout.rows(collector.group(name))
    figures = collector.group("figures")
    means = observed.evaluation(*collector.estimates(figures)).record()
    # named as those of each datapoint; NetCDF has no truth values
    means = {n.replace("log_likelihood", BOUND): int(v) if v is True or v is False else v for n, v in means.items()}
    groups["figures"] = layout.rows(figures, **means, units="nats")
    return {name: group for name, group in groups.items() if group.data_vars}


def _predictive(predictive: tuple[int, int] | None, num_samples: int) -> tuple[int, int]:
    """The number of draws, and of data, that the predictive groups are made of."""
    if predictive is None:
        return 0, 0
    if not isinstance(predictive, Sequence) or isinstance(predictive, str) or len(predictive) != 2:
        raise ArgumentError(f"predictive is {predictive!r}; expected the numbers of draws and of data, or None")
    for value in predictive:
        check_int("each number in predictive", value)
    return min(predictive[0], num_samples), predictive[1]


def _chosen(sites: Sequence[str] | None, inspection: Inspection) -> tuple[str, ...]:
    """The names of the latents to keep."""
    if sites is None:
        return inspection.latents
    if isinstance(sites, str) or not set(sites) <= set(inspection.latents):
        raise ArgumentError(f"sites is {sites!r}; expected a list of some of {list(inspection.latents)}")
    return tuple(n for n in inspection.latents if n in sites)


def _layout(
    inspection: Inspection,
    dim: int,
    others: tuple[Sequence[str], Mapping[int, str]],
    dims: Mapping[str, Sequence[str]] | None,
    coords: Mapping[str, Sequence[Any]] | None,
    size: int | None,
) -> DimensionNames:
    """Names for all dimensions, tried on a few rows before anything is drawn; the others are latents and constants."""
    (latents, indices), observed = others, inspection.observed
    nodes = inspection.model.nodes
    values = {name: site_rows(name, nodes[name], dim) for name in (*latents, *observed)}
    constants = {name: inspection.arguments[index] for index, name in indices.items()}
    _check_known("dims", dims or {}, "variables", (*values, *constants))
    layout = DimensionNames({name: plates for name, (_, plates) in values.items()}, dims or {}, coords or {}, size)
    tried = [layout.draws({name: values[name][0][None] for name in group}) for group in (latents, observed)]
    _check_known("coords", coords or {}, "dimensions", [d for g in (*tried, layout.rows(constants)) for d in g.sizes])
    return layout


def _check_known(argument: str, given: Iterable[str], kind: str, known: Iterable[str]) -> None:
    """Refuse names that there are not.

    Raises:
        ArgumentError: saying which there are.
    """
    known = list(dict.fromkeys(known))
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ArgumentError(f"{argument} names {unknown}; the {kind} are {known}")


def _origin() -> dict[str, str]:
    """What every group says of where it comes from, by ArviZ's names."""
    return {
        "inference_library": "pyvae",
        "inference_library_version": version("pyro-vae"),
        "created_at": datetime.now(UTC).isoformat(),
    }


def _described(pair: nn.Module) -> dict[str, str]:
    """The kind of the pair, and how it was made, if it knows."""
    recipe = getattr(pair, "recipe", None)
    made = {"recipe": json.dumps(recipe)} if isinstance(recipe, dict) else {}
    return {"pair": type(pair).__name__, **made, "pyro_version": version("pyro-ppl"), "torch_version": version("torch")}
