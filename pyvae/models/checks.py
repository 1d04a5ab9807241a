"""The check that components are compatible, made once, when a pair is built."""

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from pyvae.core.modules import evaluation_mode
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import RUN_ERRORS, PairError, PyvaeError

__all__ = [
    "BATCH",
    "call_component",
    "call_named",
    "check_components",
    "check_event",
    "check_modules",
    "example_context",
]

BATCH = 2  # data that components are tried on


def _describe(*inputs: object) -> str:
    return ", ".join(f"{tuple(t.shape)} ({t.dtype})" for t in inputs if isinstance(t, Tensor)) or "no input"


def call_named(role: str, component: Callable[..., Any], *inputs: object) -> Any:
    """The component's return value, or an error that names its role in the pair."""
    try:
        return component(*inputs)
    except RUN_ERRORS as error:
        if isinstance(error, PyvaeError):
            raise PairError(f"{role}: {error}") from error
        name = type(component).__name__ if isinstance(component, nn.Module) else "the call"
        raise PairError(f"{role}: {name} failed on {_describe(*inputs)}: {error}") from error


def call_component(role: str, component: Callable[..., Distribution], *inputs: object) -> Distribution:
    """The component's distribution for :data:`BATCH` data, or an error that names its role in the pair."""
    result = call_named(role, component, *inputs)
    if not isinstance(result, torch.distributions.Distribution | Distribution):
        raise PairError(
            f"{role}: {type(component).__name__} returned {type(result).__name__}; expected a Pyro distribution, "
            "such as Normal(loc, scale).to_event(1)"
        )
    _check_batch(role, result)
    return result


def _check_batch(role: str, distribution: Distribution) -> None:
    if tuple(distribution.batch_shape) not in ((), (1,), (BATCH,)):
        raise PairError(
            f"{role}: batch shape {tuple(distribution.batch_shape)} and event shape {tuple(distribution.event_shape)} "
            f"for {BATCH} datapoints; expected batch shape ({BATCH},): move the other dimensions into the event with "
            ".to_event(n)"
        )


def check_modules(pair: nn.Module, *roles: str) -> None:
    """Refuse components that are no modules; the role "context" may be None.

    Raises:
        PairError: naming the role.
    """
    for role in roles:
        component = getattr(pair, role)
        if not isinstance(component, nn.Module) and (role, component) != ("context", None):
            raise PairError(f"{role} is a {type(component).__name__}; expected a torch.nn.Module")


def check_event(role: str, q: Distribution, p: Distribution, other: str) -> None:
    """Compare the events of a guide's and a model's distribution of one site.

    Raises:
        PairError: if they differ, or samples of the one lie where the other has no density.
    """
    if q.event_shape != p.event_shape:
        raise PairError(
            f"{role}: event shape {tuple(q.event_shape)}; expected that of the {other}, {tuple(p.event_shape)}"
        )
    if not (_holds(p, q.sample()) and _holds(q, p.sample())):
        raise PairError(f"{role}: its support is {q.support}; expected that of the {other}, {p.support}")


def _holds(distribution: Distribution, value: Tensor) -> bool:
    """Whether values lie in the support, where that is known."""
    try:
        return bool(distribution.support.check(value).all())
    except NotImplementedError:
        return True


def example_context(pair: nn.Module) -> tuple[Tensor, ...] | None:
    """The context of :data:`BATCH` data as () or one tensor; None if its labels cannot be guessed."""
    if pair.context is None:
        return ()
    example = getattr(pair.context, "example", None)
    return None if example is None else (call_named("context", pair.context, example),)


def check_components(pair: nn.Module) -> None:
    """Draw z ~ p(z), x ~ p(x | z) and q(z | x) for two datapoints, and compare the shapes.

    A context whose labels cannot be guessed (it has no attribute ``example``) leaves the check to the first use.

    Args:
        pair: a module with the attributes ``prior``, ``likelihood``, ``posterior`` and ``context``.

    Raises:
        PairError: naming the component, what came and what was expected.
    """
    check_modules(pair, "prior", "likelihood", "posterior", "context")
    with evaluation_mode(pair), isolated_rng():
        c = example_context(pair)
        if c is None:
            return
        p_z = call_component("prior", pair.prior, *c)
        z = p_z.expand(torch.Size([BATCH])).sample()
        p_x = call_component("likelihood", pair.likelihood, z, *c)
        q_z = call_component("posterior", pair.posterior, p_x.expand(torch.Size([BATCH])).sample(), *c)
        check_event("posterior", q_z, p_z, "prior")
