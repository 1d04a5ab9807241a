"""What a pair does, found out by running it once: its sites, its data plate, its parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyro
import torch
from pyro import poutine
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from pyro.util import check_site_shape
from torch import Tensor, nn
from torch.distributions import Distribution

from pyvae.distributions import Weighted
from pyvae.errors import RUN_ERRORS, DataError, PairError, PyvaeError
from pyvae.isolation import evaluation_mode, own_parameters, preserved_streams

__all__ = [
    "PARTICLES",
    "Inspection",
    "check_data",
    "check_latents",
    "check_shapes",
    "choose_plate",
    "device_of",
    "first_lines",
    "has_support",
    "inspect_pair",
    "is_discrete",
    "stochastic_sites",
    "summed_but",
    "takes_missing",
    "unwrapped",
    "validated_sites",
]

PARTICLES = "num_particles_vectorized"  # the plate that Pyro's objectives put around the programs
_WRAPPERS = (torch.distributions.Independent, ExpandedDistribution, MaskedDistribution, Weighted)


def stochastic_sites(trace: Trace) -> dict[str, dict]:
    """The sites of a trace that have a density: samples, observations and factors, without plates."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site_is_subsample(site) and not site["infer"].get("_deterministic")
    }


def unwrapped(distribution: Distribution) -> Distribution:
    """The distribution of single elements or points, without the wrappers that shape, expand or mask it."""
    while isinstance(distribution, _WRAPPERS):
        distribution = distribution.base_dist
    return distribution


def summed_but(log_prob: Tensor, dims: Sequence[int]) -> Tensor:
    """A density of batch dimensions, summed over all of them but ``dims``, which are counted from the right."""
    log_prob = log_prob[(None,) * max(0, -min(dims) - log_prob.dim())]
    others = [d for d in range(-log_prob.dim(), 0) if d not in dims]
    return log_prob.sum(others) if others else log_prob


def check_latents(guide: dict[str, dict], model: dict[str, dict]) -> None:
    """Refuse latent sites of one program alone, of which importance weights would be wrong; a guide may have factors.

    Raises:
        PairError: naming the sites.
    """
    drawn, latent = ({n for n, site in sites.items() if not site["is_observed"]} for sites in (guide, model))
    for one, other, names in (("guide", "model", drawn - latent), ("model", "guide", latent - drawn)):
        if names:
            raise PairError(
                f"the {one} samples {sorted(names)}, which the {other} does not; expected the same latents in both"
            )


def choose_plate(plates: set[tuple]) -> tuple:
    """The plate over the data of those that hold every site, as tuples of a name and whatever else.

    Raises:
        PairError: if there are several, and none is called "data".
    """
    named = {p for p in plates if p[0] == "data"}
    if len(plates) > 1 and not named:
        raise PairError(f"several plates could be the one over the data: {sorted(plates)}; name that one 'data'")
    return min(named or plates)


@dataclass(frozen=True)
class Inspection:
    """One run of a pair on a batch.

    Attributes:
        arguments: what both programs were called with.
        guide: the guide's trace.
        model: the model's trace, replayed against the guide's.
        stray: names of the parameters that live in Pyro's param store alone, not in ``pair.parameters()``.
    """

    arguments: tuple[object, ...]
    guide: Trace
    model: Trace
    stray: tuple[str, ...]

    @property
    def latents(self) -> tuple[str, ...]:
        """The names of the model's latent sites, in order."""
        return tuple(n for n, s in stochastic_sites(self.model).items() if not s["is_observed"])

    @property
    def observed(self) -> tuple[str, ...]:
        """The names of the model's observed sites, in order; factors are not among them."""
        sites = stochastic_sites(self.model)
        return tuple(n for n, s in sites.items() if s["is_observed"] and not _is_factor(s))

    @property
    def max_plate_nesting(self) -> int:
        """The number of dimensions, counted from the right, that plates take."""
        sites = [*stochastic_sites(self.guide).values(), *stochastic_sites(self.model).values()]
        return max((-f.dim for s in sites for f in s["cond_indep_stack"] if f.vectorized), default=0)

    @property
    def data_plate(self) -> str | None:
        """The name of the plate over the data: the one around all observed sites that is as long as the data.

        A plate named "data" goes before others of its length.
        """
        rows = len(self.arguments[0]) if self.arguments and isinstance(self.arguments[0], Tensor) else 0
        around = [
            {f.name for f in self.model.nodes[n]["cond_indep_stack"] if f.vectorized and rows in (f.size, f.full_size)}
            for n in self.observed
        ]
        names = sorted(set.intersection(*around)) if around else []
        return "data" if "data" in names else next(iter(names), None)

    @property
    def registers_parameters(self) -> bool:
        """Whether the programs tell Pyro of their parameters, which Pyro's objectives need for a backward pass."""
        return any(s["type"] == "param" for t in (self.guide, self.model) for s in t.nodes.values())


def _is_factor(site: dict) -> bool:
    return isinstance(site["fn"], pyro.distributions.Unit)


def _describe(args: Sequence[object]) -> str:
    return ", ".join(f"{tuple(a.shape)} ({a.dtype})" if isinstance(a, Tensor) else type(a).__name__ for a in args)


def check_data(inspection: Inspection) -> None:
    """Compare what the model observes with the distributions that observe it.

    Raises:
        DataError: if data have another shape than a draw would have, or lie outside of the support.
    """
    for name in inspection.observed:
        site = inspection.model.nodes[name]
        value, distribution = site["value"], site["fn"]
        if value.shape != distribution.shape():
            raise DataError(
                f"site {name!r} observes data of shape {tuple(value.shape)}, where a draw of its distribution has "
                f"shape {tuple(distribution.shape())}: one row per datapoint, of event shape "
                f"{tuple(distribution.event_shape)}"
            )
        distribution = unwrapped(distribution)
        if not distribution._validate_args:  # switched off, as Pyro's own VAE does to train on grey values
            continue
        try:
            inside = bool(distribution.support.check(value).all())
        except NotImplementedError:
            continue
        if not inside:
            raise DataError(
                f"the data lie in [{float(value.min()):g}, {float(value.max()):g}], outside of the support of site "
                f"{name!r}, which is {type(distribution).__name__} with {distribution.support}; rescale or binarize "
                "them, or choose another likelihood"
            )


def validated_sites(inspection: Inspection) -> frozenset[str]:
    """The observed sites whose values are compared with a support; a distribution may have that switched off."""
    sites = {name: unwrapped(inspection.model.nodes[name]["fn"]) for name in inspection.observed}
    return frozenset(n for n, fn in sites.items() if fn._validate_args and has_support(fn))


def has_support(distribution: Distribution) -> bool:
    """Whether the distribution says where its values lie."""
    try:
        return distribution.support is not None
    except NotImplementedError:
        return False


def is_discrete(distribution: Distribution) -> bool:
    """Whether its values are integers, codes or labels, as far as it tells."""
    distribution = unwrapped(distribution)
    return has_support(distribution) and bool(distribution.support.is_discrete)


def check_shapes(inspection: Inspection) -> None:
    """Refuse sites whose batch dimensions no plate declares: their density would be summed in the wrong way.

    Raises:
        PairError: naming the site.
    """
    with torch.no_grad():
        for trace in (inspection.guide, inspection.model):
            trace.compute_log_prob()
            for name, site in stochastic_sites(trace).items():
                try:
                    check_site_shape(site, max_plate_nesting=float("inf"))
                except ValueError as error:
                    raise PairError(f"site {name!r}: {first_lines(error)}") from error


def first_lines(error: Exception) -> str:
    """An error's message without the table of shapes that Pyro appends."""
    return str(error).split("Trace Shapes:")[0].strip()


def device_of(pair: nn.Module) -> torch.device:
    """The device of a pair's parameters.

    Raises:
        PairError: if ``pair`` is no module with the methods ``model`` and ``guide``.
    """
    programs = [getattr(pair, name, None) for name in ("model", "guide")]
    if not isinstance(pair, nn.Module) or not all(callable(p) for p in programs):
        raise PairError(
            f"got a {type(pair).__name__}; expected a torch.nn.Module with the methods model and guide, such as "
            "pyvae.VAE or a module of your own"
        )
    return next((p.device for p in pair.parameters()), torch.device("cpu"))


def takes_missing(pair: nn.Module) -> bool:
    """Whether a component of the pair says, by an attribute ``takes_missing``, that NaN stands for missing values."""
    return isinstance(pair, nn.Module) and any(getattr(m, "takes_missing", False) for m in pair.modules())


def inspect_pair(pair: nn.Module, args: Sequence[object]) -> Inspection:
    """Run guide and model once on ``args``, leaving random streams, buffers and param store as they were.

    Raises:
        PairError: if ``pair`` is no model/guide pair, or a program fails on these arguments.
    """
    device_of(pair)
    program = "guide"
    with evaluation_mode(pair), preserved_streams(), own_parameters():
        try:
            guide = poutine.trace(pair.guide).get_trace(*args)
            program = "model"
            model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(*args)
        except RUN_ERRORS as error:
            if isinstance(error, PyvaeError):
                raise type(error)(first_lines(error)) from error
            gaps = any(isinstance(a, Tensor) and a.is_floating_point() and a.isnan().any() for a in args)
            hint = (
                " (the data hold NaN; networks that see them must know, as networks.ObservedOnly does)" if gaps else ""
            )
            raise PairError(
                f"{type(pair).__name__}.{program} failed on a batch of shapes {_describe(args)}{hint}: "
                f"{first_lines(error)}"
            ) from error
        own = {id(p) for p in pair.parameters()}
        store = pyro.get_param_store()
        stray = tuple(n for n in store if id(store[n].unconstrained()) not in own)
    return Inspection(tuple(args), guide, model, stray)
