"""The inference gap and its parts: what the encoder misses, and what no guide of its family could give."""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure as Drawing
from pyro import distributions as dist
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import AffineTransform, Distribution, constraints

from pyvae.diagnostics.evaluation import has_weights
from pyvae.diagnostics.particles import LogTerms, copies, repeated_run
from pyvae.diagnostics.sections.section import Figure, Picture, Section
from pyvae.diagnostics.sections.subject import Subject
from pyvae.errors import RUN_ERRORS

__all__ = ["inference_gap"]

_ROWS, _STEPS, _DRAWN, _MEASURED, _AT_ONCE = 64, 300, 8, 512, 32
_TITLE = "What does the guide lose, and why?"
_CREMER = "Cremer, Li and Duvenaud, Inference suboptimality in variational autoencoders, 2018, table 1"

_ENCODER = "the encoder is at fault: train longer, make it larger, or refine it (guides.SemiAmortized)"
_FAMILY = (
    "the family of the guide is at fault: take a richer one (FullRankNormal, InverseAutoregressiveFlow, "
    "ConditionalSplineFlow)"
)


def inference_gap(subject: Subject) -> Section:
    r"""log p(x) − ELBO = (log p(x) − ELBO*) + (ELBO* − ELBO): approximation gap plus amortization gap.

    ELBO* is that of a guide which is refined for each datapoint alone: every latent is shifted and rescaled, element
    by element, by 300 steps of Adam. For diagonal normal guides this is the best of their family; for others, a part
    of what the family could give, so that the amortization gap is at least what is told. log p(x) is bounded by
    importance weights of the refined guide.
    """
    if reason := _unfit(subject):
        return Section(_TITLE, skipped=reason)
    args = subject.rows(_ROWS)
    with subject.at_rest(2):
        moves = _Moves(subject, args)
        try:
            _refine(subject, moves, args)
        except RUN_ERRORS as error:
            return Section(_TITLE, skipped=f"the guide cannot be refined: {error}")
    with subject.at_rest(3):
        before = _weights(subject, lambda program: program, args)
    with subject.at_rest(3):
        after = _weights(subject, moves.applied, args)
    # the better of the two as a whole: the larger for each datapoint would be the luckier, and no bound
    bound = max((w.logsumexp(0) - math.log(len(w)) for w in (before, after)), key=lambda b: float(b.mean()))
    table = pd.DataFrame(
        {"elbo": before.mean(0), "refined_elbo": after.mean(0), "log_likelihood": bound},
        index=pd.RangeIndex(len(bound), name="row"),
    )
    table["approximation"] = table["log_likelihood"] - table["refined_elbo"]
    table["amortization"] = table["refined_elbo"] - table["elbo"]
    picture = Picture(
        "Inference gap",
        "One bar per datapoint, by size: what a refined guide would win (amortization), and what is left.",
        lambda: _draw(table),
    )
    error = (after - before).std(0).square().sum().sqrt() / len(bound) / len(before) ** 0.5
    return Section(_TITLE, tuple(_figures(table, float(error))), (picture,), table)


def _unfit(subject: Subject) -> str:
    """Why there is nothing to refine; empty if there is."""
    if reason := subject.no_draws() or subject.too_long():
        return reason
    if not has_weights(subject.inspection) or set(subject.drawn) != set(subject.inspection.latents):
        return f"not all latents of {list(subject.inspection.latents)} are continuous draws, which could be refined"
    for name in subject.drawn:
        fn = subject.inspection.guide.nodes[name]["fn"]
        support = fn.support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        if support not in (constraints.real, constraints.real_vector) or not fn.has_rsample:
            return f"site {name!r} is {type(fn).__name__}, which cannot be shifted and rescaled with a gradient"
    return ""


class _Moves:
    """A shift and a factor for each element of each latent of each datapoint, in units of the guide's own scale."""

    def __init__(self, subject: Subject, args: Sequence[Tensor]) -> None:
        trace = poutine.trace(subject.pair.guide).get_trace(*copies(args, _AT_ONCE))
        draws = {name: trace.nodes[name]["value"].unflatten(0, (_AT_ONCE, -1)) for name in subject.drawn}
        self.centre = {name: z.mean(0) for name, z in draws.items()}
        self.scale = {name: z.std(0) for name, z in draws.items()}
        self.shift = {name: torch.zeros_like(z[0]).requires_grad_() for name, z in draws.items()}
        self.log_factor = {name: torch.zeros_like(z[0]).requires_grad_() for name, z in draws.items()}

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.shift.values(), *self.log_factor.values()]

    def applied(self, program: Callable) -> Callable:
        """The guide with these moves."""
        return _Moved(self)(program)

    def moved(self, name: str, fn: Distribution) -> Distribution:
        """z ↦ m + s δ + exp(γ) (z − m), with m and s about the mean and the standard deviation of z."""
        centre, factor = self.centre[name], self.log_factor[name].exp()
        start = centre * (1 - factor) + self.scale[name] * self.shift[name]
        count = fn.batch_shape[-1] // len(start)  # the run has so many copies of the data
        rows = [t.repeat(count, *[1] * (t.dim() - 1)) for t in (start, factor)]
        # with a cache, for flows that know the density of their own draws alone without effort
        transform = AffineTransform(*rows, event_dim=len(fn.event_shape), cache_size=1)
        return dist.TransformedDistribution(fn, [transform])


class _Moved(Messenger):
    """Moves what a guide draws."""

    def __init__(self, moves: _Moves) -> None:
        super().__init__()
        self._moves = moves

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._moves.shift:
            msg["fn"] = self._moves.moved(msg["name"], msg["fn"])


def _refine(subject: Subject, moves: _Moves, args: Sequence[Tensor]) -> None:
    optimizer = torch.optim.Adam(moves.parameters, lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    with torch.enable_grad():
        for _ in range(_STEPS):
            loss = -_run(subject, moves.applied, args, _DRAWN).mean(0).sum()
            for parameter, gradient in zip(
                moves.parameters, torch.autograd.grad(loss, moves.parameters, allow_unused=True), strict=True
            ):
                parameter.grad = gradient
            optimizer.step()
            schedule.step()


def _run(subject: Subject, change: Callable[[Callable], Callable], args: Sequence[Tensor], count: int) -> Tensor:
    """Log weights (S, N) of the pair with a changed guide."""
    pair = SimpleNamespace(guide=change(subject.pair.guide), model=subject.pair.model)
    terms: LogTerms = repeated_run(pair, args, count, subject.dim)[0]
    return terms.log_weight


def _weights(subject: Subject, change: Callable[[Callable], Callable], args: Sequence[Tensor]) -> Tensor:
    return torch.cat([_run(subject, change, args, _AT_ONCE) for _ in range(_MEASURED // _AT_ONCE)])


def _figures(table: pd.DataFrame, error: float) -> list[Figure]:
    total, count = table["log_likelihood"] - table["elbo"], len(table)
    advice = ""
    if float(total.mean()) > 1:
        encoder = float(table["amortization"].mean()) > float(table["approximation"].mean())
        advice = _ENCODER if encoder else _FAMILY

    def figure(name: str, values: pd.Series, meaning: str, **more: str) -> Figure:
        spread = float(values.std() / count**0.5) if count > 1 else math.nan
        return Figure(name, float(values.mean()), meaning, "nats", error, spread, source=_CREMER, **more)

    said = f"log p(x) − ELBO of {count} data, with log p(x) by weights of the refined guide"
    return [
        figure("inference gap", total, said, threshold="at most 1 nat, as a rule of thumb", advice=advice),
        figure("amortization gap", table["amortization"], "what a guide tuned to each datapoint alone wins"),
        figure(
            "approximation gap",
            table["approximation"],
            "what is left after tuning: the posterior has another shape than the guide's family",
        ),
    ]


def _draw(table: pd.DataFrame) -> Drawing:
    ordered = table.sort_values("elbo", ascending=False, key=lambda _: table["approximation"] + table["amortization"])
    figure = Drawing(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(ordered)), ordered["approximation"], width=1, label="approximation")
    axes.bar(
        range(len(ordered)), ordered["amortization"], bottom=ordered["approximation"], width=1, label="amortization"
    )
    axes.set(xlabel="datapoint, by gap", ylabel="nats")
    axes.legend(frameon=False)
    return figure
