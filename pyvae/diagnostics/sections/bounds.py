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
from pyvae.evaluation.estimates import (
    Estimate,
    effective_sample_size,
    elbo_estimate,
    likelihood_estimate,
    smaller_estimate,
)
from pyvae.evaluation.evaluate import has_weights, joined
from pyvae.inspection.densities import LogTerms

__all__ = ["bounds"]

_PARETO = "Vehtari, Simpson, Gelman, Yao and Gabry, Pareto smoothed importance sampling, 2024"
_TITLE = "How far is the ELBO from log p(x), and can the guide's weights be trusted?"
_JUDGED = 100  # samples; with fewer, k̂ is too uncertain to be judged
_MANY = 0.1  # share of the data above a threshold that calls for advice


@dataclass(frozen=True)
class _Columns:
    """Estimates and figures per datapoint, (N,) each."""

    elbo: Estimate
    bounds: dict[int, Estimate]
    khat: Tensor
    effective: Tensor


def bounds(subject: Subject) -> Section:
    r"""The bounds on log p(x), with Pareto's k̂ and the effective sample size of each datapoint's importance weights.

    .. math:: \mathrm{ELBO} \le L_{10} \le \dots \le L_S \le \log p(x)
    """
    if not has_weights(subject.inspection):
        return _elbo_alone(subject)
    parts = subject.over_data(_columns)
    elbo = joined([p.elbo for p in parts])
    estimates = {f"L_{k}": joined([p.bounds[k] for p in parts]) for k in parts[0].bounds}
    last = list(estimates)[-1]
    table = pd.DataFrame(
        {
            "elbo": elbo.per_datapoint,
            "elbo_se": elbo.standard_errors,
            **{name: estimate.per_datapoint for name, estimate in estimates.items()},
            "log_likelihood_se": estimates[last].standard_errors,
            "khat": torch.cat([p.khat for p in parts]),
            "ess": torch.cat([p.effective for p in parts]),
        }
    ).rename_axis(_counted(subject))
    figures = [_bound("ELBO", elbo, _ELBO)]
    for name, estimate in estimates.items():
        smaller = f"importance-weighted bound of {estimate.num_particles} samples"
        figures.append(_bound(name, estimate, _LARGEST if name == last else smaller))
    figures += [_gap(table, last), _khat(table["khat"], subject.num_particles), _effective(table["ess"])]
    pictures = (
        Picture("Bounds", "The bounds of each datapoint: far below the diagonal, the guide fits worst.",
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
    smaller = {k: smaller_estimate(log_weight, k) for k in (10, 100) if k < count}
    return _Columns(
        elbo.cpu(),
        {k: bound.cpu() for k, bound in {**smaller, count: largest}.items()},
        pareto_smoothed(log_weight)[1].cpu(),
        effective_sample_size(log_weight).cpu(),
    )


def _bound(name: str, estimate: Estimate, meaning: str) -> Finding:
    return Finding(
        name,
        estimate.value,
        f"{meaning}; {estimate.caution}" if estimate.caution else meaning,
        "nats",
        estimate.standard_error,
        estimate.dataset_standard_error,
        source="Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2016, theorem 1" if "L_" in name
        else "",
        error_is_at_least=estimate.error_is_at_least,
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
        "for these datapoints the guide is too narrow, shifted, or misses a part of the posterior: try a richer guide "
        "(FullRankNormal, InverseAutoregressiveFlow), train with DReG or ImportanceWeightedELBO, or take more samples"
    )
    return Finding(
        f"k̂ > {threshold:.2f}",
        share,
        "share of the datapoints whose importance weights have too heavy a tail for their mean to be trusted",
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
    count = min(10, subject.num_particles)
    elbo = joined(subject.over_data(lambda t: elbo_estimate(t.reconstruction, t.latents).cpu(), count))
    table = pd.DataFrame({"elbo": elbo.per_datapoint, "elbo_se": elbo.standard_errors}).rename_axis(_counted(subject))
    figure = _bound("ELBO", elbo, _ELBO + "; the guide has no spread, so there are no importance weights")
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
