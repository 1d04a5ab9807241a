"""The tightness of the bounds, and the reliability of the guide's importance weights."""

import math
from dataclasses import dataclass

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyvae.batching.order import keeps_order
from pyvae.diagnostics.sections.section import Finding, Picture, Section
from pyvae.diagnostics.sections.subject import Subject
from pyvae.evaluation.arviz_bridge import good_k, pareto_smoothed
from pyvae.evaluation.estimates import effective_sample_size, elbo_estimate, likelihood_estimate
from pyvae.evaluation.evaluate import has_weights
from pyvae.inspection.densities import LogTerms

__all__ = ["bounds"]

_PARETO = "Vehtari, Simpson, Gelman, Yao and Gabry, Pareto smoothed importance sampling, 2024"
_TITLE = "How far is the ELBO from log p(x), and can the guide's weights be trusted?"
_JUDGED = 100  # samples; with fewer, k̂ is too uncertain to be judged
_MANY = 0.1  # share of the data above a threshold that calls for advice


@dataclass(frozen=True)
class _Columns:
    """Figures per datapoint, (N,) each."""

    elbo: Tensor
    elbo_error: Tensor
    bounds: dict[int, Tensor]
    bound_error: Tensor
    khat: Tensor
    effective: Tensor


def bounds(subject: Subject) -> Section:
    r"""The bounds on log p(x), with Pareto's k̂ and the effective sample size of each datapoint's importance weights.

    .. math:: \mathrm{ELBO} \le L_{10} \le \dots \le L_S \le \log p(x)
    """
    if not has_weights(subject.inspection):
        return _elbo_alone(subject)
    parts = subject.over_data(_columns)
    sizes = list(parts[0].bounds)
    table = pd.DataFrame(
        {
            "elbo": torch.cat([p.elbo for p in parts]),
            "elbo_se": torch.cat([p.elbo_error for p in parts]),
            **{f"L_{k}": torch.cat([p.bounds[k] for p in parts]) for k in sizes},
            "log_likelihood_se": torch.cat([p.bound_error for p in parts]),
            "khat": torch.cat([p.khat for p in parts]),
            "ess": torch.cat([p.effective for p in parts]),
        }
    ).rename_axis(_counted(subject))
    figures = [_bound("ELBO", table, "elbo", "elbo_se", _ELBO)]
    for k in sizes[:-1]:
        figures.append(_bound(f"L_{k}", table, f"L_{k}", "", f"importance-weighted bound of {k} samples"))
    last = f"L_{sizes[-1]}"
    figures.append(_bound(last, table, last, "log_likelihood_se", _LARGEST))
    figures += [_gap(table, last), _khat(table["khat"], subject.num_particles), _effective(table["ess"])]
    pictures = (
        Picture("Bounds", "Each datapoint's bounds: what lies far below the diagonal is what the guide explains worst.",
                lambda: _draw_bounds(table, last)),
        Picture("Pareto k̂", "One point per datapoint. Above the line, means by importance weights cannot be trusted.",
                lambda: _draw_khat(table["khat"], subject.num_particles)),
    )  # fmt: skip
    return Section(_TITLE, tuple(figures), pictures, table)


_ELBO = "a lower bound on log p(x), the mean over the data"
_LARGEST = "the tightest of these bounds, and the best estimate of log p(x) here: still from below"


def _counted(subject: Subject) -> str:
    """What the rows of a table per datapoint are numbers of: of the data, or of their arrival."""
    return "obs_id" if keeps_order(subject.data) else "arrival"


def _columns(terms: LogTerms) -> _Columns:
    log_weight = terms.log_weight
    count = len(log_weight)
    elbo, largest = elbo_estimate(terms.reconstruction, terms.latents), likelihood_estimate(log_weight)
    smaller = {k: _blocks(log_weight, k) for k in (10, 100) if k < count}
    return _Columns(
        elbo.per_datapoint.cpu(),
        elbo.standard_errors.cpu(),
        {k: bound.cpu() for k, bound in {**smaller, count: largest.per_datapoint}.items()},
        largest.standard_errors.cpu(),
        pareto_smoothed(log_weight)[1].cpu(),
        effective_sample_size(log_weight).cpu(),
    )


def _blocks(log_weight: Tensor, size: int) -> Tensor:
    """L_k from all samples: the mean over blocks of k."""
    whole = log_weight[: len(log_weight) // size * size].unflatten(0, (-1, size))
    return (whole.logsumexp(1) - math.log(size)).mean(0)


def _bound(name: str, table: pd.DataFrame, column: str, error: str, meaning: str) -> Finding:
    values, count = table[column], len(table)
    return Finding(
        name,
        float(values.mean()),
        meaning,
        "nats",
        float((table[error] ** 2).sum() ** 0.5 / count) if error else math.nan,
        float(values.std() / count**0.5) if count > 1 else math.nan,
        source="Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016, theorem 1" if "L_" in name
        else "",
    )  # fmt: skip


def _gap(table: pd.DataFrame, last: str) -> Finding:
    gap = table[last] - table["elbo"]
    return Finding(
        "log p̂(x) − ELBO",
        float(gap.mean()),
        "the part of the ELBO's distance from log p(x) that is due to the guide, not the model; a lower bound",
        "nats",
        dataset_standard_error=float(gap.std() / len(gap) ** 0.5) if len(gap) > 1 else math.nan,
        source="Cremer, Li and Duvenaud, Inference suboptimality in variational autoencoders, 2018, table 1",
    )


def _khat(khat: pd.Series, draws: int) -> Finding:
    threshold = good_k(draws)
    share = 100 * float((khat > threshold).mean())
    advice = (
        "for these data the guide is too narrow, shifted, or misses a part of the posterior: try a richer guide "
        "(FullRankNormal, InverseAutoregressiveFlow), train with DReG or ImportanceWeightedELBO, or take more samples"
    )
    return Finding(
        f"k̂ > {threshold:.2f}",
        share,
        "share of the data whose importance weights have so heavy a tail that their mean cannot be trusted",
        "%",
        threshold=f"at most {100 * _MANY:.0f} %" if draws >= _JUDGED else "",
        source=_PARETO,
        advice=advice if share > 100 * _MANY and draws >= _JUDGED else "",
    )


def _effective(effective: pd.Series) -> Finding:
    value = float(effective.median())
    return Finding(
        "effective sample size",
        value,
        "number of posterior samples that the importance weights of the median datapoint are worth; too optimistic "
        "where k̂ is large",
        threshold="at least 10",
        source="Kong, A note on importance sampling using standardized weights, 1992",
        advice="" if value >= 10 else "few samples carry all the weight: do not use them as posterior samples; a "
        "richer guide or more samples would help",
    )  # fmt: skip


def _elbo_alone(subject: Subject) -> Section:
    """For guides that put all mass on one point, such as those of codes."""
    parts = subject.over_data(lambda t: elbo_estimate(t.reconstruction, t.latents), min(10, subject.num_particles))
    table = pd.DataFrame(
        {
            "elbo": torch.cat([p.per_datapoint.cpu() for p in parts]),
            "elbo_se": torch.cat([p.standard_errors.cpu() for p in parts]),
        }
    ).rename_axis(_counted(subject))
    figure = _bound(
        "ELBO", table, "elbo", "elbo_se", _ELBO + "; the guide has no spread, so there are no importance weights"
    )
    return Section(_TITLE, (figure,), (), table)


def _draw_bounds(table: pd.DataFrame, last: str) -> Figure:
    figure = Figure(figsize=(4.5, 4), layout="constrained")
    axes = figure.subplots()
    axes.scatter(table[last], table["elbo"], s=6, alpha=0.5)
    axes.axline((float(table[last].mean()),) * 2, slope=1, color="black", linewidth=0.8)
    axes.set(xlabel=f"{last} in nats", ylabel="ELBO in nats")
    return figure


def _draw_khat(khat: pd.Series, draws: int) -> Figure:
    shown = khat.clip(upper=2)  # it is infinite where one draw has all the weight
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.scatter(range(len(shown)), shown, s=6, alpha=0.5)
    axes.axhline(good_k(draws), color="#c77700", linewidth=1)
    axes.set(xlabel="datapoint", ylabel="k̂", ylim=(None, max(1.1, float(shown.max()) + 0.1)))
    return figure
