"""The check that components fit each other, made once, when a pair is built."""

from collections.abc import Callable

import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from pyvae.errors import RUN_ERRORS, PairError, PyvaeError
from pyvae.isolation import evaluation_mode, preserved_streams

__all__ = ["check_components"]

_BATCH = 2


def _describe(*inputs: Tensor) -> str:
    return ", ".join(f"{tuple(t.shape)} ({t.dtype})" for t in inputs) or "no input"


def _call(role: str, component: Callable[..., Distribution], *inputs: Tensor) -> Distribution:
    """The component's distribution, or an error that names its role in the pair."""
    try:
        result = component(*inputs)
    except RUN_ERRORS as error:
        if isinstance(error, PyvaeError):
            raise PairError(f"{role}: {error}") from error
        raise PairError(f"{role}: {type(component).__name__} failed on {_describe(*inputs)}: {error}") from error
    if not isinstance(result, torch.distributions.Distribution | Distribution):
        raise PairError(
            f"{role}: {type(component).__name__} returned {type(result).__name__}; expected a Pyro distribution, "
            "such as Normal(loc, scale).to_event(1)"
        )
    return result


def _check_batch(role: str, distribution: Distribution) -> None:
    if tuple(distribution.batch_shape) not in ((), (1,), (_BATCH,)):
        raise PairError(
            f"{role}: batch shape {tuple(distribution.batch_shape)} and event shape {tuple(distribution.event_shape)} "
            f"for {_BATCH} data; expected batch shape ({_BATCH},): move the other dimensions into the event with "
            ".to_event(n)"
        )


def check_components(pair: nn.Module) -> None:
    """Draw z ~ p(z), x ~ p(x | z) and q(z | x) for two data, and compare the shapes.

    A context whose labels cannot be guessed (it has no attribute ``example``) leaves the check to the first use.

    Args:
        pair: a module with the attributes ``prior``, ``likelihood``, ``posterior`` and ``context``.

    Raises:
        PairError: naming the component, what came and what was expected.
    """
    for role in ("prior", "likelihood", "posterior", "context"):
        component = getattr(pair, role)
        if not isinstance(component, nn.Module) and (role, component) != ("context", None):
            raise PairError(f"{role} is a {type(component).__name__}; expected a torch.nn.Module")
    example = getattr(pair.context, "example", None)
    if pair.context is not None and example is None:
        return
    with evaluation_mode(pair), preserved_streams():
        inputs = () if pair.context is None else (pair.context(example),)
        p_z = _call("prior", pair.prior, *inputs)
        _check_batch("prior", p_z)
        z = p_z.expand(torch.Size([_BATCH])).sample()
        p_x = _call("likelihood", pair.likelihood, z, *inputs)
        _check_batch("likelihood", p_x)
        q_z = _call("posterior", pair.posterior, p_x.expand(torch.Size([_BATCH])).sample(), *inputs)
        _check_batch("posterior", q_z)
    if q_z.event_shape != p_z.event_shape:
        raise PairError(
            f"posterior: event shape {tuple(q_z.event_shape)}; expected that of the prior, {tuple(p_z.event_shape)}"
        )
