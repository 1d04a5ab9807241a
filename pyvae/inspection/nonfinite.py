"""What is not finite in a run of a pair: the site, the row, the value, and what about it."""

from dataclasses import dataclass

import torch
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import Distribution, constraints

from pyvae.core.tensors import numbers_of
from pyvae.inspection.sites import (
    element_log_probs,
    has_support,
    in_words,
    stochastic_sites,
    support_in_words,
    support_of_elements,
    unwrapped,
)

__all__ = ["Culprit", "first_nonfinite_site"]


@dataclass(frozen=True)
class Culprit:
    """What is not finite first.

    Attributes:
        what: such as "the log density of site 'x' of the model".
        detail: where, and what about it, as a clause; may be empty.
        advice: what to do, as a sentence without a full stop; empty where it is another's to know.
    """

    what: str
    detail: str = ""
    advice: str = ""

    def __str__(self) -> str:
        return ". ".join(filter(None, (f"{self.what} is not finite{self.detail}", self.advice)))


def first_nonfinite_site(
    guide: Trace, model: Trace, plate: str | None, size: int, row: int | None = None, offset: int = 0
) -> Culprit | None:
    """The first site of a run whose density is not finite, or None; NaN and +∞ go before −∞, a density of zero.

    Args:
        guide: the guide's trace.
        model: the model's trace.
        plate: the name of the plate over the data.
        size: the number of datapoints, of each of which a run of copies has several rows.
        row: the only one to look at; None for all.
        offset: what to add to the row for the message.
    """
    programs = [("guide", guide), ("model", model)]
    sites = [(program, name, s) for program, trace in programs for name, s in stochastic_sites(trace).items()]
    for is_bad in (lambda d: ~(d < torch.inf), lambda d: d == -torch.inf):
        for program, name, site in sites:
            density, value, fn = element_log_probs(site)
            bad = is_bad(density)
            dims = [f.dim for f in site["cond_indep_stack"] if f.name == plate and f.vectorized]
            events = len(fn.batch_shape) - len(site["fn"].batch_shape)
            axis = bad.dim() - events + dims[0] if dims else -1  # negative where all rows share the density
            if row is not None and axis >= 0 and bad.shape[axis] > 1:
                rows = torch.arange(bad.shape[axis], device=bad.device) % size == row
                bad = bad & rows.reshape(-1, *[1] * (bad.dim() - axis - 1))
            if bad.any():
                index = tuple(bad.nonzero()[0].tolist())
                where = f"row {index[axis] % size + offset}" if axis >= 0 else "all rows"
                return _described(f"site {name!r} of the {program}", site, where, density[index], fn, value, index)
    return None


def _described(
    site: str, msg: dict, where: str, density: Tensor, fn: Distribution, value: Tensor, index: tuple[int, ...]
) -> Culprit:
    here = _at(value, index)
    if value.is_floating_point() and not numbers_of(here).isfinite().all():
        return Culprit(f"the value of {site}", f": it is {in_words(here)} in {where}")
    what, detail = f"the log density of {site}", f": it is {float(density):g} in {where}, where "
    kind = type(unwrapped(fn)).__name__
    observed = msg["is_observed"]
    if at := _edge(unwrapped(fn), here):
        advice = (
            "Move the data inside, by x.clamp(min=…, max=…), or choose a likelihood whose density is finite there"
            if observed
            else "Keep the guide's draws inside, such as by a smallest scale, or choose another prior"
        )
        return Culprit(what, f"{detail}the value is {in_words(here)}, {at} {kind}", advice)
    if parameter := _parameter(unwrapped(fn), index):
        return Culprit(what, f"{detail}{parameter}")
    zero = " has no probability under" if density == -torch.inf else " stands under"
    advice = "Give all values that occur a probability, such as by smoothing" if density == -torch.inf else ""
    return Culprit(what, f"{detail}the value {in_words(here)}{zero} {kind}", advice)


def _at(value: Tensor, index: tuple[int, ...]) -> Tensor:
    """The part of a value, whose leading dimensions may be broadcast, at an index of its density."""
    events = value.dim() - len(index)
    if events < 0:
        index, events = index[-value.dim() :] if value.dim() else (), 0
    return value[tuple(min(i, n - 1) for i, n in zip(index, value.shape, strict=False))]


def _edge(fn: Distribution, value: Tensor) -> str:
    """Whether a value is on the edge of the support, or outside, in words before the name of the distribution."""
    if not has_support(fn):
        return ""
    support = support_of_elements(fn)
    try:
        if not support.check(value).all():
            return f"outside of the support, which is {support_in_words(fn)}, of"
    except (RuntimeError, ValueError, NotImplementedError):
        return ""
    if support.is_discrete:
        return ""
    zero = 0.0 if support is constraints.simplex else None
    bounds = [getattr(support, name, zero) for name in ("lower_bound", "upper_bound")]
    on_it = any(bool((value == bound).any()) for bound in bounds if bound is not None)
    return "on the edge of the support of" if on_it else ""


def _parameter(fn: Distribution, index: tuple[int, ...]) -> str:
    """A parameter that is not finite, or as small as it may be, in words."""
    for name, constraint in fn.arg_constraints.items():
        parameter = getattr(fn, name, None)
        if not isinstance(parameter, Tensor) or not parameter.is_floating_point():
            continue
        here = _at(parameter, index)
        lowest = getattr(constraint, "lower_bound", None)
        if not here.isfinite().all() or (lowest is not None and bool((here <= lowest).any())):
            return f"the parameter {name!r} of {type(fn).__name__} is {in_words(here)}"
    return ""
