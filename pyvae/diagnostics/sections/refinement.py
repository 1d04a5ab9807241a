"""The inference gap: its parts due to the encoder and to the guide's family."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from pyro import distributions as dist
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import AffineTransform, Distribution, constraints

from pyvae.diagnostics.sections.section import Finding, Picture, Section
from pyvae.diagnostics.sections.subject import Subject
from pyvae.errors import RUN_ERRORS, first_lines
from pyvae.evaluation.evaluate import has_weights
from pyvae.evaluation.particles import repeated_run
from pyvae.inspection.densities import LogTerms
from pyvae.inspection.elements import counted

__all__ = ["inference_gap"]

_ROWS, _FEWEST, _STEPS, _ROUNDS, _DRAWN, _MEASURED, _AT_ONCE = 64, 8, 150, 12, 8, 512, 32
_SETTLED = 0.05  # nats per datapoint, or this share of what all rounds have won
_TITLE = "How much does the guide lose, and why?"
_CREMER = "Cremer, Li and Duvenaud, Inference suboptimality in variational autoencoders, 2018, table 1"

_ENCODER = "the encoder is at fault: train longer, make it larger, or refine it (guides.SemiAmortized)"
_FAMILY = (
    "the family of the guide is at fault: take a richer one (FullRankNormal, InverseAutoregressiveFlow, "
    "ConditionalSplineFlow)"
)


def inference_gap(subject: Subject) -> Section:
    r"""The inference gap, split into the approximation gap and the amortization gap.

    .. math:: \log p(x) - \mathrm{ELBO} = (\log p(x) - \mathrm{ELBO}^*) + (\mathrm{ELBO}^* - \mathrm{ELBO})

    ELBO* is that of a guide which is refined for each datapoint alone: every latent is shifted and rescaled, element by
    element but for those that are masked, by rounds of Adam until a round wins less than 0.05 nats, or 5 % of what all
    rounds have won. For diagonal normal guides this is the best of their family; for others, a part of what the family
    could give, so that the reported amortization gap is a lower bound. log p(x) is bounded by importance weights of the
    refined guide, so that the other gaps are lower bounds, too. Gaps of 0 are reported as slightly negative where the
    refined guide is not yet as good as the encoder's.
    """
    if reason := _unfit(subject):
        return Section(_TITLE, skipped=reason)
    args = subject.rows(subject.affordable(_ROWS, _FEWEST, _STEPS * _DRAWN))
    with subject.at_rest(2):
        moves = _Moves(subject, args)
        try:
            settled = _refine(subject, moves, args)
        except RUN_ERRORS as error:
            return Section(_TITLE, skipped=f"the guide cannot be refined: {first_lines(error)}")
    with subject.at_rest(3):
        before = _weights(subject, lambda program: program, args)
    with subject.at_rest(3):
        after = _weights(subject, moves.applied, args)
    # the better of the two as a whole: the larger for each datapoint would be the luckier, and no bound
    best = max(before, after, key=lambda w: float(_bound(w).mean()))
    table = pd.DataFrame(
        {"elbo": before.mean(0).cpu(), "refined_elbo": after.mean(0).cpu(), "log_likelihood": _bound(best).cpu()},
        index=pd.RangeIndex(before.shape[1], name="row"),
    )
    table["approximation"] = table["log_likelihood"] - table["refined_elbo"]
    table["amortization"] = table["refined_elbo"] - table["elbo"]
    influence = (best - _bound(best)).exp() - 1  # of each draw on the bound
    errors = [_error(influence - before), _error(after - before), _error(influence - after)]
    picture = Picture(
        "Inference gap",
        "One bar per datapoint, by size: what a refined guide would gain (amortization), and the rest.",
        lambda: _draw(table),
    )
    return Section(_TITLE, tuple(_figures(table, errors, settled)), (picture,), table)


def _bound(weights: Tensor) -> Tensor:
    return weights.logsumexp(0) - math.log(len(weights))


def _error(draws: Tensor) -> float:
    """Standard error of the mean over data of the average of (S, N) samples."""
    return float(draws.std(0).square().sum().sqrt() / draws.shape[1] / len(draws) ** 0.5)


def _unfit(subject: Subject) -> str:
    """Why there is nothing to refine; empty if there is."""
    if reason := subject.no_draws() or subject.too_long():
        return reason
    if not has_weights(subject.inspection) or set(subject.drawn) != set(subject.inspection.latents):
        return f"not all latents of {list(subject.inspection.latents)} are continuous draws, which could be refined"
    if reason := subject.nested():
        return reason
    for name in subject.drawn:
        fn = subject.inspection.guide.nodes[name]["fn"]
        support = fn.support
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        if support not in (constraints.real, constraints.real_vector) or not fn.has_rsample:
            return f"site {name!r} is {type(fn).__name__}, which cannot be shifted and rescaled with a gradient"
    return ""


class _Moves:
    """A shift and a factor for each element of each latent of each datapoint, in units of the guide's own scale.

    Where elements are masked, both have no gradient, and stay 0.
    """

    def __init__(self, subject: Subject, args: Sequence[Tensor]) -> None:
        trace = poutine.trace(subject.pair.guide).get_trace(*subject.copies(args, _AT_ONCE))
        draws = {name: trace.nodes[name]["value"].unflatten(0, (_AT_ONCE, -1)) for name in subject.drawn}
        elements = {name: counted(trace.nodes[name]) for name in subject.drawn}
        self._elements = {n: m if m is None else m[: len(draws[n][0])] for n, m in elements.items()}
        self._centre = {name: z.mean(0) for name, z in draws.items()}
        self._spread = {name: z.std(0) for name, z in draws.items()}
        self._place, self._unit = dict(self._centre), {name: z.std(0) for name, z in draws.items()}
        self.shift = {name: torch.zeros_like(z[0]).requires_grad_() for name, z in draws.items()}
        self.log_factor = {name: torch.zeros_like(z[0]).requires_grad_() for name, z in draws.items()}

    def settle(self) -> None:
        """Take the current position of the samples as the start of further shifts, in units of their current scale."""
        with torch.no_grad():
            for name, shift in self.shift.items():
                self._place[name] = self._place[name] + self._unit[name] * shift
                self._unit[name] = self._spread[name] * self.log_factor[name].exp()
                shift.zero_()

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.shift.values(), *self.log_factor.values()]

    def set_gradients(self, loss: Tensor) -> None:
        """The gradients of a loss with respect to all parameters."""
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        masks = [*self._elements.values()] * 2
        for parameter, gradient, mask in zip(self.parameters, gradients, masks, strict=True):
            unmoved = gradient is None or mask is None
            parameter.grad = gradient if unmoved else gradient.masked_fill(~mask, 0)

    def applied(self, program: Callable) -> Callable:
        """The guide with these moves."""
        return _Moved(self)(program)

    def moved(self, name: str, fn: Distribution) -> Distribution:
        """The moved distribution of a site.

        z ↦ m + s δ + exp(γ) (z − c), with c about the mean of z, and m and s about where it is by now.
        """
        factor = self.log_factor[name].exp()
        start = self._place[name] + self._unit[name] * self.shift[name] - factor * self._centre[name]
        count = fn.batch_shape[-1] // len(start)  # the number of copies of the data in the run
        rows = [t.repeat(count, *[1] * (t.dim() - 1)) for t in (start, factor)]
        # with a cache, for flows that know the density of their own samples alone without effort
        transform = AffineTransform(*rows, event_dim=len(fn.event_shape), cache_size=1)
        return dist.TransformedDistribution(fn, [transform])


class _Moved(Messenger):
    """Moves a guide's samples."""

    def __init__(self, moves: _Moves) -> None:
        super().__init__()
        self._moves = moves

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._moves.shift:
            msg["fn"] = self._moves.moved(msg["name"], msg["fn"])


def _refine(subject: Subject, moves: _Moves, args: Sequence[Tensor]) -> bool:
    """Move until it hardly helps any more; whether it came to that."""
    start = last = float(_run(subject, moves.applied, args, _AT_ONCE).mean())
    for _ in range(_ROUNDS):
        optimizer = torch.optim.Adam(moves.parameters, lr=0.1)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
        with torch.enable_grad():
            for _ in range(_STEPS):
                loss = -_run(subject, moves.applied, args, _DRAWN).mean(0).sum()
                moves.set_gradients(loss)
                optimizer.step()
                schedule.step()
        moves.settle()
        reached = float(_run(subject, moves.applied, args, _AT_ONCE).mean())
        if reached < last + _SETTLED * max(1, last - start):
            return True
        last = reached
    return False


def _run(subject: Subject, change: Callable[[Callable], Callable], args: Sequence[Tensor], count: int) -> Tensor:
    """Log weights (S, N) of the pair with a changed guide."""
    pair = SimpleNamespace(guide=change(subject.pair.guide), model=subject.pair.model)
    terms: LogTerms = repeated_run(pair, args, count, subject.dim, subject.inspection.columns)[0]
    return terms.log_weight


def _weights(subject: Subject, change: Callable[[Callable], Callable], args: Sequence[Tensor]) -> Tensor:
    return torch.cat([_run(subject, change, args, _AT_ONCE) for _ in range(_MEASURED // _AT_ONCE)])


def _figures(table: pd.DataFrame, errors: Sequence[float], settled: bool) -> list[Finding]:
    total, count = table["log_likelihood"] - table["elbo"], len(table)
    advice = ""
    if float(total.mean()) > 1:
        encoder = not settled or float(table["amortization"].mean()) > float(table["approximation"].mean())
        advice = _ENCODER if encoder else _FAMILY
    whole = f"a lower bound on log p(x) − ELBO of {count} datapoints; log p(x) is estimated with the refined guide"
    tuned = "what a guide tuned to each datapoint would gain" + ("" if settled else ", or more: it still improved")
    left = "what is left after tuning, at least: the posterior has a shape that the guide's family lacks"
    told = {"inference gap": (total, whole), "amortization gap": (table["amortization"], tuned)}
    told["approximation gap"] = (table["approximation"], left)
    figures = []
    for (name, (values, meaning)), error in zip(told.items(), errors, strict=True):
        spread = float(values.std() / count**0.5) if count > 1 else math.nan
        figures.append(Finding(name, float(values.mean()), meaning, "nats", error, spread, source=_CREMER))
    first = replace(figures[0], threshold="at most 1 nat, as a rule of thumb", advice=advice)
    return [first, *figures[1:]]


def _draw(table: pd.DataFrame) -> Figure:
    ordered = table.sort_values("elbo", ascending=False, key=lambda _: table["approximation"] + table["amortization"])
    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    axes.bar(range(len(ordered)), ordered["approximation"], width=1, label="approximation")
    axes.bar(
        range(len(ordered)), ordered["amortization"], bottom=ordered["approximation"], width=1, label="amortization"
    )
    axes.set(xlabel="datapoint, by gap", ylabel="nats")
    axes.legend(frameon=False)
    return figure
