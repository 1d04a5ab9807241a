"""The structure of a pair, found by running it once: its sites, its data plate, its parameters."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyro
import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor, nn

from pyvae.core.modules import evaluation_mode, isolated_param_store
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import RUN_ERRORS, PairError, PyvaeError, first_lines
from pyvae.inspection.sites import stochastic_sites

__all__ = ["Inspection", "device_of", "inspect_pair", "takes_missing"]


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
        """Whether the programs register parameters with Pyro, which Pyro's objectives need for a backward pass."""
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
    with evaluation_mode(pair), isolated_rng(), isolated_param_store():
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
