"""The match of the aggregated posterior and the prior."""

import math

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pyro import poutine
from scipy.stats import ks_2samp
from sklearn.metrics import pairwise_distances, pairwise_kernels
from torch import Tensor

from pyvae.diagnostics.sections.section import Finding, Picture, Section, draw_first_six
from pyvae.diagnostics.sections.subject import FEWEST, Subject
from pyvae.evaluation.evaluate import has_weights
from pyvae.inspection.densities import density
from pyvae.inspection.elements import counted
from pyvae.inspection.generation import reads_data
from pyvae.inspection.sites import unwrapped

__all__ = ["aggregated_posterior"]

_ROWS, _CONDITIONED, _PERMUTATIONS = 1000, 200, 200
_SHIFT, _LEVEL = 0.15, 0.01
_LISTED = 12
_TITLE = "Does the prior look like the latents of the data?"
_INFORMATION = "mutual information of x and z"
_SURGERY = "Hoffman and Johnson, ELBO surgery, 2016"
_ADVICE = (
    "samples from the prior fall where no data are encoded, so they will look worse than reconstructions; try a "
    "learned prior (VampPrior, NormalMixture, NeuralSplineFlow)"
)


def aggregated_posterior(subject: Subject) -> Section:
    r"""The aggregated posterior against the prior: MMD, differences by dimension, and the parts of the mean KL.

    .. math:: \bar q(z) = E_x q(z \mid x), \qquad E_x \mathrm{KL}(q(z \mid x) \,\|\, p(z)) = I(x; z)
        + \mathrm{KL}(\bar q \,\|\, p)

    I(x; z) is estimated with N datapoints as E log q(z_n | x_n) − log 1/N Σ_m q(z_n | x_m), which is at most log N:
    where the mean KL is near it, or above, the mutual information is underestimated and KL(q̄ ‖ p) overestimated.

    Elements that are masked are left out of both sides. Of pairs with such, whose latents are not of one space, there
    is no mutual information.
    """
    if reason := subject.no_draws() or subject.too_few():
        return Section(_TITLE, skipped=reason)
    args = subject.rows(_ROWS)
    with subject.at_rest(4):
        posterior = poutine.trace(subject.pair.guide).get_trace(*args)
        prior = subject.draw_model(args)
        drawn, expected = (
            {name: subject.drawn_rows(trace, name) for name in subject.encoded} for trace in (posterior, prior)
        )
        table = _by_dimension(drawn, expected)
        if not len(table):
            return Section(_TITLE, skipped=f"fewer than {FEWEST} datapoints have a latent that is not masked")
        names = table["site"].unique()[:_LISTED]
        figures = [_discrepancy(name, drawn[name], expected[name]) for name in names]
        figures += [_farthest(table), *_surgery(subject)]
    pictures = (
        Picture(
            "Latents of the data and of the prior",
            "The dimensions that differ most: filled, the guide's samples for the data; the line, the prior.",
            lambda: _draw(table, drawn, expected),
        ),
    )
    return Section(_TITLE, tuple(figures), pictures, table)


def _discrepancy(name: str, drawn: np.ndarray, expected: np.ndarray) -> Finding:
    """Unbiased MMD² with a Gaussian kernel of the median distance, and its p-value by permutations."""
    # masked elements are the same in both, and of no weight in the distance of two rows without them
    both = np.nan_to_num(np.concatenate([drawn[:_ROWS], expected[:_ROWS]]))
    n = len(both) // 2
    width = np.median(pairwise_distances(both[:: max(1, len(both) // 500)]))
    kernel = pairwise_kernels(both, metric="rbf", gamma=1 / (2 * max(width, 1e-12) ** 2))
    np.fill_diagonal(kernel, 0)
    signs = np.repeat([1.0, -1.0], n)
    generator = np.random.default_rng(0)
    all_signs = np.stack([signs, *(generator.permutation(signs) for _ in range(_PERMUTATIONS))], 1)
    # with s = ±1, the sums within the halves and between them are those of 1ᵀ K 1 and sᵀ K s
    total, between = kernel.sum(), (all_signs * (kernel @ all_signs)).sum(0)
    values = (total + between) / (2 * n * (n - 1)) - (total - between) / (2 * n**2)
    p_value = (1 + float((values[1:] >= values[0]).sum())) / (1 + _PERMUTATIONS)
    return Finding(
        f"MMD² of {name}",
        float(values[0]),
        "distance of the data's latents from samples of the prior, 0 if equal in distribution"
        + (f"; no more than chance, p = {p_value:.2f}" if p_value > 0.05 else "; more than chance"),
        source="Gretton et al., A kernel two-sample test, 2012, equation 3",
    )


def _by_dimension(drawn: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> pd.DataFrame:
    rows = []
    for name, samples in drawn.items():
        for d, columns in enumerate(zip(samples.T, expected[name].T, strict=True)):
            z, p = (column[~np.isnan(column)] for column in columns)
            if len(z) < FEWEST or len(p) < FEWEST:
                continue
            told = {"distance": ks_2samp(z, p).statistic, "mean": z.mean(), "sd": z.std()}
            told |= {"prior_mean": p.mean(), "prior_sd": p.std(), "count": len(z)}
            rows.append({"site": name, "dimension": d, **told})
    return pd.DataFrame(rows)


def _farthest(table: pd.DataFrame) -> Finding:
    # what equal distributions stay below but for one time in a hundred, in all dimensions
    chance = (-math.log(_LEVEL / (2 * len(table))) / table["count"]) ** 0.5
    thresholds = chance.clip(lower=_SHIFT)
    index = (table["distance"] / thresholds).idxmax()
    worst, most = table.loc[index], float(thresholds[index])
    return Finding(
        "largest distance of one dimension",
        float(worst["distance"]),
        f"Kolmogorov-Smirnov distance of {worst['site']}[{worst['dimension']}] from the prior: mean "
        f"{worst['mean']:.2f} and sd {worst['sd']:.2f} against {worst['prior_mean']:.2f} and {worst['prior_sd']:.2f}",
        threshold=f"at most {most:.2f}" + (", as a rule of thumb" if most == _SHIFT else ", by chance"),
        source="scipy.stats.ks_2samp",
        advice=_ADVICE if worst["distance"] > most else "",
    )


def _surgery(subject: Subject) -> list[Finding]:
    """I(x; z) and KL(q̄ ‖ p), for pairs whose prior does not depend on the data's context."""
    inspection = subject.inspection
    sites = [inspection.guide.nodes[n]["fn"] for n in inspection.latents]
    if len(inspection.columns) > 1 or subject.too_long() or subject.nested() or not has_weights(inspection):
        return []
    if any(counted(inspection.guide.nodes[name]) is not None for name in inspection.latents):
        return []
    quick = len(sites) == 1 and not unwrapped(sites[0]).event_shape
    args = subject.rows(_ROWS if quick else _CONDITIONED)
    size = len(args[0])
    if reads_data(subject.pair, args):
        return []
    guide, model = subject.traces(args)
    own = _log_density(guide, subject)
    kl = float((own - _log_density(model, subject)).mean())
    spread = _cross(subject, guide, args).logsumexp(1) - math.log(size)
    information = float((own - spread).mean())
    if kl > math.log(size) - 2:
        told = (
            f"the KL, {kl:.1f} nats, is near or above log N = {math.log(size):.1f}, which no estimate from {size} "
            "datapoints exceeds: z carries more information than this, and KL(q̄ ‖ p) cannot be estimated"
        )
        advice = f"give at least {_ROWS} datapoints" if size == len(subject.kept[0]) < _ROWS else ""
        return [Finding(_INFORMATION + ", at least", information, told, "nats", source=_SURGERY, advice=advice)]
    return [
        Finding(
            _INFORMATION,
            information,
            f"the part of the KL, {kl:.2f} nats in all, by which z distinguishes datapoints",
            "nats",
            source=_SURGERY,
        ),
        Finding(
            "KL(q̄ ‖ p)",
            kl - information,
            "the rest of the KL: what a prior that fits the data's latents would gain",
            "nats",
            threshold="at most 1 nat, as a rule of thumb",
            source=_SURGERY,
            advice=_ADVICE if kl - information > 1 else "",
        ),
    ]


def _log_density(trace: poutine.Trace, subject: Subject) -> Tensor:
    """log density of the latents of a run, (N,)."""
    return sum(density(trace.nodes[name], [subject.dim]) for name in subject.inspection.latents)


def _cross(subject: Subject, guide: poutine.Trace, args: tuple[Tensor, ...]) -> Tensor:
    """log q(z_n | x_m) of all pairs, (N, N): for one latent without a run, else by one for each n."""
    (first, *others) = subject.inspection.latents
    if not others:
        fn, value = guide.nodes[first]["fn"], guide.nodes[first]["value"]
        # some arrays of (rows, N, D) are made on the way
        at_once = max(1, subject.max_memory // (8 * value.element_size() * value.numel()))
        return torch.cat([fn.log_prob(rows.unsqueeze(1)).double() for rows in value.split(at_once)])
    rows = []
    for index in range(len(args[0])):
        one = {n: guide.nodes[n]["value"][index].expand_as(guide.nodes[n]["value"]) for n in subject.inspection.latents}
        trace = poutine.trace(poutine.condition(subject.pair.guide, data=one)).get_trace(*args)
        rows.append(_log_density(trace, subject))
    return torch.stack(rows)


def _draw(table: pd.DataFrame, drawn: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> Figure:
    def panel(axes: Axes, row: pd.Series) -> None:
        z, p = drawn[row["site"]][:, row["dimension"]], expected[row["site"]][:, row["dimension"]]
        z, p = z[~np.isnan(z)], p[~np.isnan(p)]
        bins = np.histogram_bin_edges(np.concatenate([z, p]), 40)
        axes.hist(z, bins, density=True, alpha=0.5)
        axes.hist(p, bins, density=True, histtype="step", color="black")
        axes.set_title(f"{row['site']}[{row['dimension']}]: {row['distance']:.2f}")

    return draw_first_six(table.sort_values("distance", ascending=False), panel)
