"""Simulation-based calibration: is q(z | x) the posterior of the model's own data?"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pyro import poutine
from scipy.stats import binom, kstest

from pyvae.core.rows import rows_of
from pyvae.diagnostics.sections.section import Finding, Picture, Section, draw_first_six
from pyvae.diagnostics.sections.subject import Subject

__all__ = ["calibration"]

_SIMULATIONS, _FEWEST, _DRAWS, _AT_ONCE = 1000, 100, 99, 2**22
_NOMINAL = 0.9
_REJECTED = 0.01
_SURE = 4  # standard errors
_TITLE = "Are the guide's intervals calibrated, on data simulated from the model?"
_TALTS = "Talts, Betancourt, Simpson, Vehtari and Gelman, Validating Bayesian inference algorithms, 2018, theorem 1"


def calibration(subject: Subject) -> Section:
    r"""Simulation-based calibration of the guide: ranks and coverage on data from the model itself.

    The ranks of z* among samples of q(z | x*), for (x*, z*) ~ p(x, z), are uniform for every dimension if q is the
    posterior.

    The coverage is that of the central 90 % intervals of q. Ranks are tested by Kolmogorov and Smirnov, corrected
    for the number of dimensions by Bonferroni. Elements of latents that are masked have no rank, and simulated data the
    padding and the gaps of the given ones.
    """
    if reason := subject.no_draws() or subject.too_long() or subject.no_data_of_its_own():
        return Section(_TITLE, skipped=reason)
    with subject.at_rest(5):
        ranks = _ranks(subject)
    rows = []
    for name, rank in ranks.items():
        noise = np.random.default_rng(0).random(rank.shape)
        for d, (column, above) in enumerate(zip(rank.T, noise.T, strict=True)):
            uniform = ((column + above) / (_DRAWS + 1))[~np.isnan(column)]
            if not len(uniform):
                continue
            inside = np.abs(uniform - 0.5) < _NOMINAL / 2
            told = {"p_value": kstest(uniform, "uniform").pvalue, "coverage": inside.mean()}
            rows.append({"site": name, "dimension": d, **told, "mean_rank": uniform.mean(), "count": len(uniform)})
    if not rows:
        return Section(_TITLE, skipped=f"all elements of {list(subject.drawn)} are masked")
    table = pd.DataFrame(rows)
    picture = Picture(
        "Ranks",
        "Histograms of the ranks of the worst dimensions; flat within the band if the guide is right. ∪ means too "
        "narrow, ∩ too wide, a slope shifted.",
        lambda: _draw(table, ranks),
    )
    return Section(_TITLE, tuple(_figures(table)), (picture,), table)


def _ranks(subject: Subject) -> dict[str, np.ndarray]:
    """By site: how many of the guide's samples lie below the model's, (simulations, D); NaN of what is masked."""
    simulations = subject.affordable(_SIMULATIONS, _FEWEST, _DRAWS)
    args = subject.rows(simulations)
    times = -(-simulations // len(args[0]))
    args = subject.copies(args, times)
    args[0], _, model = subject.drawn_data(args)
    x = args[0]
    parts: dict[str, list[np.ndarray]] = {name: [] for name in subject.drawn}
    truth = {name: subject.drawn_rows(model, name) for name in subject.drawn}
    rows = max(1, _AT_ONCE // (x[0].numel() * _DRAWS))
    for start in range(0, len(x), rows):
        some = rows_of(args, slice(start, start + rows), subject.inspection.columns)
        guide = poutine.trace(subject.pair.guide).get_trace(*subject.copies(some, _DRAWS))
        for name in subject.drawn:
            draws = subject.drawn_rows(guide, name).reshape(_DRAWS, len(some[0]), -1)
            below = (draws < truth[name][start : start + rows]).sum(0)
            parts[name].append(np.where(np.isnan(truth[name][start : start + rows]), np.nan, below))
    return {name: np.concatenate(found) for name, found in parts.items()}


def _figures(table: pd.DataFrame) -> list[Finding]:
    worst = table.loc[((table["coverage"] - _NOMINAL).abs() * table["count"] ** 0.5).idxmax()]
    count, coverage = int(worst["count"]), float(worst["coverage"])
    p_value = min(1.0, float(table["p_value"].min()) * len(table))
    least, most = (end / count for end in binom.interval(1 - _REJECTED / 10 / len(table), count, _NOMINAL))
    unlike = (
        "q(z | x) is not the posterior p(z | x) of this model; the coverage and the inference gap "
        "show whether the difference matters"
    )
    return [
        Finding(
            "coverage of 90 % intervals",
            100 * coverage,
            f"share of {count} simulated datapoints whose {worst['site']}[{worst['dimension']}], the worst dimension, "
            f"lies in the guide's central 90 % interval; the mean over dimensions is {table['coverage'].mean():.0%}",
            "%",
            100 * (coverage * (1 - coverage) / count) ** 0.5,
            threshold=f"{100 * least:.0f} to {100 * most:.0f} %",
            source=_TALTS,
            advice="" if least <= coverage <= most else _wrong(coverage, float(worst["mean_rank"]), count),
        ),
        Finding(
            "p-value of the ranks",
            p_value,
            f"for uniform ranks in all {len(table)} dimensions, from the worst of them (Bonferroni)",
            threshold=f"at least {_REJECTED}",
            source=_TALTS,
            advice="" if p_value >= _REJECTED else unlike,
        ),
    ]


def _wrong(coverage: float, mean_rank: float, count: int) -> str:
    """What is wrong with a guide of this coverage: another place, or another width."""
    if coverage < _NOMINAL and abs(mean_rank - 0.5) > _SURE / (12 * count) ** 0.5:
        side = "low" if mean_rank > 0.5 else "high"
        return (
            f"the guide's samples are too {side}: do not quote its intervals; use its importance weights, train "
            "longer, or take a larger encoder"
        )
    kind = "narrow, or off by an amount that differs between datapoints" if coverage < _NOMINAL else "wide"
    return f"the guide is too {kind}: do not quote its intervals; use its importance weights, or take a richer guide"


def _draw(table: pd.DataFrame, ranks: dict[str, np.ndarray]) -> Figure:
    def panel(axes: Axes, row: pd.Series) -> None:
        values = ranks[row["site"]][:, row["dimension"]]
        low, high = binom.interval(0.99, row["count"], 1 / 20)
        axes.axhspan(low, high, color="#dfe4ea")
        axes.hist(values[~np.isnan(values)], bins=np.linspace(0, _DRAWS + 1, 21))
        axes.set_title(f"{row['site']}[{row['dimension']}]: {row['coverage']:.0%} covered")

    return draw_first_six(table.sort_values("p_value"), panel)
