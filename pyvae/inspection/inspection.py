"""The structure of a pair, found by running it once: its sites, its data plate, its parameters."""

import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine import Trace
from pyro.poutine.guide import GuideMessenger
from torch import Tensor, nn

from pyvae.core.modules import at_rest
from pyvae.core.rows import columns_of
from pyvae.errors import RUN_ERRORS, PairError, PyvaeError, first_lines
from pyvae.inspection.elements import check_masks
from pyvae.inspection.memory import OutputMeter
from pyvae.inspection.plates import plate_of_all, plates_around, refuse_parts, to_event_advice
from pyvae.inspection.sites import check_latents, guide_terms, is_factor, is_summed_out, stochastic_sites, unwrapped

__all__ = ["Inspection", "device_of", "inspect_pair", "takes_missing", "trace_programs"]

_TOLD = 4  # arguments in an error


@dataclass(frozen=True)
class Inspection:
    """One run of a pair on a few data, made once and handed on to whoever works on the pair.

    Attributes:
        pair: the pair.
        arguments: what both programs were called with.
        columns: the positions of the arguments that have one row per datapoint.
        guide: the guide's trace.
        model: the model's trace, replayed against the guide's.
        stray: names of the parameters that live in Pyro's param store alone, not in ``pair.parameters()``.
        output_bytes: of all tensors that the pair's modules put out, a measure of the memory that a run takes.
    """

    pair: nn.Module = field(repr=False)
    arguments: tuple[object, ...]
    columns: tuple[int, ...]
    guide: Trace
    model: Trace
    stray: tuple[str, ...]
    output_bytes: int

    @property
    def size(self) -> int:
        """The number of datapoints that it was run on."""
        return len(self.arguments[0])

    @property
    def datapoint_shape(self) -> torch.Size:
        """The shape of a row of the first argument."""
        return self.arguments[0].shape[1:]

    @property
    def device(self) -> torch.device:
        """Where the pair's parameters are."""
        return device_of(self.pair)

    def at_rest(self, seed: int | None = None) -> AbstractContextManager[None]:
        """A block that may run the pair's programs, and leaves no trace; see :func:`pyvae.core.modules.at_rest`."""
        return at_rest(self.pair, self.stray, seed)

    @cached_property
    def plate(self) -> tuple[str, int]:
        """Name and dim of the plate that holds every site of both programs, one datapoint per index.

        Raises:
            PairError: if there is none, or guide and model do not have the same latent sites, or mask them otherwise.
        """
        guide, model = stochastic_sites(self.guide), stochastic_sites(self.model)
        check_latents(guide, model, sums=True)
        points = [n for n in self.latents if isinstance(unwrapped(guide[n]["fn"]), Delta)]
        if self.auxiliary and not points:
            warnings.warn(
                f"the guide's auxiliary {list(self.auxiliary)} are latents of no density of the model, nor is a latent "
                "of it a function (Delta) of them: the figures are log p(x, z) − log q, which is no bound on log p(x). "
                "For one, let the model sample them too, given its latents",
                stacklevel=2,
            )
        check_masks(guide, model)
        if not self.observed:
            raise PairError("the model observes nothing when it is given data; expected a sample site with obs=x")
        chosen = plate_of_all(guide, model, self.size)
        refuse_parts(model, chosen[0])
        return chosen

    @cached_property
    def latents(self) -> tuple[str, ...]:
        """The names of the model's latent sites, in order, but those that are summed out."""
        sites = stochastic_sites(self.model).items()
        return tuple(n for n, s in sites if not s["is_observed"] and n not in self.summed_out)

    @cached_property
    def summed_out(self) -> tuple[str, ...]:
        """The names of the latents that the model enumerates and the guide does not draw."""
        guide = stochastic_sites(self.guide)
        return tuple(n for n, s in stochastic_sites(self.model).items() if is_summed_out(n, s, guide))

    @cached_property
    def guide_terms(self) -> tuple[str, ...]:
        """The names of the sites of the guide alone that are part of log q: auxiliary latents and factors."""
        return tuple(guide_terms(self.guide, self.model))

    @property
    def auxiliary(self) -> tuple[str, ...]:
        """The names of the latents that the guide samples and the model does not, in order."""
        return tuple(n for n in self.guide_terms if not self.guide.nodes[n]["is_observed"])

    @cached_property
    def factors(self) -> frozenset[str]:
        """The names of the factors of both programs."""
        sites = [item for trace in (self.model, self.guide) for item in stochastic_sites(trace).items()]
        return frozenset(name for name, site in sites if is_factor(site))

    @property
    def observed(self) -> tuple[str, ...]:
        """The names of the model's observed sites, in order; factors are not among them."""
        sites = stochastic_sites(self.model)
        return tuple(n for n, s in sites.items() if s["is_observed"] and not is_factor(s))

    @property
    def max_plate_nesting(self) -> int:
        """The number of dimensions, counted from the right, that plates take."""
        sites = [*stochastic_sites(self.guide).values(), *stochastic_sites(self.model).values()]
        return max((-f.dim for s in sites for f in s["cond_indep_stack"] if f.vectorized), default=0)

    @cached_property
    def data_plate(self) -> str | None:
        """The name of the plate over the data: the one around all observed sites that is as long as the data.

        A plate named "data" goes before others of its length.
        """
        rows = len(self.arguments[0]) if self.arguments and isinstance(self.arguments[0], Tensor) else 0
        observed = {name: self.model.nodes[name] for name in self.observed}
        around, _ = plates_around(observed.items(), lambda plate: rows in plate[2:])
        names = sorted(name for name, *_ in around)
        return "data" if "data" in names else next(iter(names), None)

    @property
    def registers_parameters(self) -> bool:
        """Whether the programs register parameters with Pyro, which Pyro's objectives need for a backward pass."""
        return any(s["type"] == "param" for t in (self.guide, self.model) for s in t.nodes.values())


def _describe(args: Sequence[object]) -> str:
    told = [f"{tuple(a.shape)} ({a.dtype})" if isinstance(a, Tensor) else type(a).__name__ for a in args]
    return ", ".join(told) if len(told) <= _TOLD else f"{', '.join(told[:_TOLD])}, … ({len(told)} tensors)"


def device_of(pair: nn.Module) -> torch.device:
    """The device of a pair's parameters.

    Raises:
        PairError: if ``pair`` is no module with the methods ``model`` and ``guide``, or the guide runs the model.
    """
    programs = [getattr(pair, name, None) for name in ("model", "guide")]
    if not isinstance(pair, nn.Module) or not all(callable(p) for p in programs):
        raise PairError(
            f"got a {type(pair).__name__}; expected a torch.nn.Module with the methods model and guide, such as "
            "pyvae.VAE or a module of your own"
        )
    if isinstance(poutine.unwrap(pair.guide), GuideMessenger):
        kind = type(poutine.unwrap(pair.guide)).__name__
        raise PairError(
            f"the guide of {type(pair).__name__} is a {kind}, which runs the model itself, so that the terms of the "
            f"ELBO cannot be told apart; use a guide that runs alone, such as {kind.removesuffix('Messenger')}"
        )
    return next((p.device for p in pair.parameters()), torch.device("cpu"))


def takes_missing(pair: nn.Module) -> bool:
    """Whether a component of the pair says, by an attribute ``takes_missing``, that NaN stands for missing values."""
    return isinstance(pair, nn.Module) and any(getattr(m, "takes_missing", False) for m in pair.modules())


def trace_programs(
    pair: nn.Module, args: Sequence[object], around: Callable[[], AbstractContextManager] = nullcontext
) -> tuple[Trace, Trace]:
    """A run of the guide, and of the model with the latents that the guide has drawn.

    Args:
        pair: a module with ``model`` and ``guide``.
        args: of both programs.
        around: makes a context for each of them, such as a plate of particles.
    """
    with around():
        guide = poutine.trace(pair.guide).get_trace(*args)
    with around():
        model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(*args)
    return guide, model


def inspect_pair(pair: nn.Module, args: Sequence[object], columns: Sequence[int] | None = None) -> Inspection:
    """Run guide and model once on ``args``, leaving random streams, buffers and param store as they were.

    Args:
        pair: a module with ``model`` and ``guide``.
        args: of both programs.
        columns: the positions of the arguments that have one row per datapoint; by default those that are as long as
            the first.

    Raises:
        PairError: if ``pair`` is no model/guide pair, or a program fails on these arguments.
    """
    device_of(pair)
    dtype = torch.get_default_dtype()
    with at_rest(pair), OutputMeter(pair) as meter:
        guide, model = _traced(pair, args)
        _check_default_dtype(pair, dtype)
        own = {id(p) for p in pair.parameters()}
        store = pyro.get_param_store()
        stray = tuple(n for n in store if id(store[n].unconstrained()) not in own)
    if any(name in pyro.get_param_store() for name in stray):  # the run above has made them anew
        with at_rest(pair, stray):
            guide, model = _traced(pair, args)
    columns = columns_of(args) if columns is None else tuple(columns)
    return Inspection(pair, tuple(args), columns, guide, model, stray, meter.bytes)


def _check_default_dtype(pair: nn.Module, before: torch.dtype) -> None:
    after = torch.get_default_dtype()
    if after != before:
        torch.set_default_dtype(before)
        raise PairError(
            f"a program of {type(pair).__name__} changes torch's default dtype from {before} to {after}, for the whole "
            f"process; leave out torch.set_default_dtype, and make its tensors with dtype={after}, or like x"
        )


def _data_hint(pair: nn.Module, args: Sequence[object], error: Exception) -> str:
    """What to write if a program fails on the form or the type of the data."""
    x, parameter = next(iter(args), None), next(pair.parameters(), None)
    if len(args) > _TOLD:
        return " (of rows in a list, pass one tensor: torch.stack(x))"
    if "type" not in str(error) or not isinstance(x, Tensor) or parameter is None or x.dtype == parameter.dtype:
        return ""
    kind = str(parameter.dtype).removeprefix("torch.")
    call = "float()" if kind == "float32" else f"to(torch.{kind})"
    return f" (the data are {x.dtype}, the parameters {parameter.dtype}: pass x.{call})"


def _traced(pair: nn.Module, args: Sequence[object]) -> tuple[Trace, Trace]:
    """A run of both programs, whose errors say which of them failed, and on what."""
    started: list[str] = []

    def start() -> AbstractContextManager:
        started.append("model" if started else "guide")
        return nullcontext()

    try:
        return trace_programs(pair, args, start)
    except PyvaeError as error:
        raise type(error)(first_lines(error)) from error
    except RUN_ERRORS as error:
        gaps = any(isinstance(a, Tensor) and a.is_floating_point() and a.isnan().any() for a in args)
        hint = " (the data hold NaN; networks that see them must know, as networks.ObservedOnly does)" if gaps else ""
        raise PairError(
            f"{type(pair).__name__}.{started[-1]} failed on a batch of shapes {_describe(args)}{hint}: "
            f"{first_lines(error)}{_advice(error)}{_data_hint(pair, args, error)}"
        ) from error


def _advice(error: Exception) -> str:
    """What to write where a site does not fit into its plates, which Pyro's message does not say."""
    if "Shape mismatch inside plate" not in str(error):
        return ""
    messages = [frame.f_locals.get("msg") for frame, _ in traceback.walk_tb(error.__traceback__)]
    sites = [m for m in messages if isinstance(m, dict) and "cond_indep_stack" in m]
    return to_event_advice(sites[-1]) if sites else ""
