"""What a pair does, found out by running it once: its sites, its data plate, its parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyro
import torch
from pyro import poutine
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyvae.errors import PairError, PyvaeError
from pyvae.isolation import evaluation_mode, own_parameters, preserved_streams

__all__ = ["RUN_ERRORS", "Inspection", "device_of", "inspect_pair", "stochastic_sites"]

#: what a program written by a user raises when it is given arguments that it cannot take
RUN_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError)


def stochastic_sites(trace: Trace) -> dict[str, dict]:
    """The sites of a trace that have a density: samples, observations and factors, without plates."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site_is_subsample(site) and not site["infer"].get("_deterministic")
    }


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
    def registers_parameters(self) -> bool:
        """Whether the programs tell Pyro of their parameters, which Pyro's objectives need for a backward pass."""
        return any(s["type"] == "param" for t in (self.guide, self.model) for s in t.nodes.values())


def _is_factor(site: dict) -> bool:
    return isinstance(site["fn"], pyro.distributions.Unit)


def _describe(args: Sequence[object]) -> str:
    return ", ".join(f"{tuple(a.shape)} ({a.dtype})" if isinstance(a, Tensor) else type(a).__name__ for a in args)


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
                raise
            raise PairError(
                f"{type(pair).__name__}.{program} failed on a batch of shapes {_describe(args)}: {error}"
            ) from error
        own = {id(p) for p in pair.parameters()}
        store = pyro.get_param_store()
        stray = tuple(n for n in store if id(store[n].unconstrained()) not in own)
    return Inspection(tuple(args), guide, model, stray)
