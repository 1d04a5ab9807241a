"""Draws of all sites of any pair, repeated for each datapoint: from the guide, from the prior, and of new data."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from pyro import poutine
from pyro.distributions import Unit
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyvae.diagnostics.particles import LogTerms, copies, density, repeated_run
from pyvae.errors import PairError
from pyvae.inspection import Inspection, is_discrete, stochastic_sites
from pyvae.isolation import preserved_streams

__all__ = ["Drawer", "GuideDraws", "Unobserved", "as_matrix", "reads_data", "site_rows"]


@dataclass(frozen=True)
class GuideDraws:
    """S draws for each of N datapoints.

    Attributes:
        latents: of q(z | x), (S, N, …) by site.
        observed: the data as the model observes them, (N, …) by site.
        new: draws of p(x | z), (S, N, …) by observed site; empty if not asked for.
        terms: of log p(x, z) − log q(z | x).
        log_joint: log p(x, z), (S, N) float64.
        log_conditional: log p(x | z), (S, N) float64 by observed site.
    """

    latents: dict[str, Tensor]
    observed: dict[str, Tensor]
    new: dict[str, Tensor]
    terms: LogTerms
    log_joint: Tensor
    log_conditional: dict[str, Tensor]


class Drawer:
    """Runs the programs of a pair on copies of the data, one copy for each draw.

    Args:
        pair: a module with ``model`` and ``guide``, in evaluation mode.
        inspection: a run of it.
        plate: name and dim of the plate over the data.
        sites: the latents that are kept.
    """

    def __init__(self, pair: nn.Module, inspection: Inspection, plate: tuple[str, int], sites: Collection[str]) -> None:
        self._pair, self._plate, self._sites = pair, plate, sites
        self._observed = inspection.observed
        nodes = inspection.model.nodes
        self._integers = {name for name in sites if is_discrete(nodes[name]["fn"])}

    def from_guide(self, args: Sequence[Tensor], count: int, new: bool) -> GuideDraws:
        """``count`` draws of q(z | x) for these data, with their densities; and of p(x | z), if ``new``."""
        terms, model = repeated_run(self._pair, args, count, self._plate[1])
        size, sites = len(args[0]), stochastic_sites(model)
        densities = {name: density(site, (self._plate[1],)) for name, site in sites.items()}
        densities = {n: d.reshape(count, size) if d.numel() == count * size else d.sum() for n, d in densities.items()}
        drawn: dict[str, Tensor] = {}
        if new:
            latents = {n: s["value"] for n, s in sites.items() if not s["is_observed"]}
            free = Unobserved()(self._pair.model)
            trace = poutine.trace(poutine.condition(free, data=latents)).get_trace(*copies(args, count))
            drawn = self._rows(trace, self._observed, count)
        return GuideDraws(
            self._rows(model, self._sites, count),
            {name: rows[0] for name, rows in self._rows(model, self._observed, count).items()},
            drawn,
            terms,
            sum(densities.values()).expand(count, size),
            {name: densities[name] for name in self._observed},
        )

    def from_prior(self, args: Sequence[Tensor], count: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``count`` draws of p(z) and p(x | z) for each of these data, which only their contexts enter."""
        trace = poutine.trace(Unobserved()(self._pair.model)).get_trace(*copies(args, count))
        return self._rows(trace, self._sites, count), self._rows(trace, self._observed, count)

    def _rows(self, trace: Trace, names: Collection[str], count: int) -> dict[str, Tensor]:
        """The values of these sites, (S, N, …)."""
        values = {name: site_rows(name, trace.nodes[name], self._plate[1])[0] for name in names}
        return {
            name: (value.long() if name in self._integers else value).unflatten(0, (count, -1))
            for name, value in values.items()
        }


class Unobserved(Messenger):
    """Draws what a program observes, but for its factors, which are no random variables, and deterministic sites."""

    def _pyro_sample(self, msg: dict) -> None:
        if site_is_subsample(msg) or isinstance(msg["fn"], Unit) or msg["infer"].get("_deterministic"):
            return
        if msg["is_observed"]:
            msg["is_observed"], msg["value"], msg["done"] = False, None, False


def reads_data(pair: nn.Module, args: Sequence[Tensor]) -> bool:
    """Whether what the model draws depends on its first argument: given that, it cannot draw data of its own."""
    x = args[0]
    others = [x.roll(1, 0) if len(x) > 1 else x.flip(tuple(range(x.dim()))), *args[1:]]
    drawn = []
    for arguments in (args, others):
        with preserved_streams(0):
            trace = poutine.trace(Unobserved()(pair.model)).get_trace(*arguments)
        drawn.append([s["value"] for s in stochastic_sites(trace).values()])
    pairs = zip(*drawn, strict=True)
    return not all(a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in pairs)


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
