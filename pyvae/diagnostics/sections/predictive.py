"""Predictive checks: do data drawn from the model look like the data?"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pyro import poutine
from torch import Tensor

from pyvae.diagnostics.sections.section import Finding, Picture, Section
from pyvae.diagnostics.sections.subject import Subject

__all__ = ["predictive"]

_ROWS, _FEWEST, _REPEATS = 200, 20, 200
_FAR = 4  # standard deviations
_STATISTICS = {
    "mean": np.nanmean,
    "standard deviation": np.nanstd,
    "5 % quantile": lambda x: np.nanquantile(x, 0.05),
    "95 % quantile": lambda x: np.nanquantile(x, 0.95),
}
_KINDS = {"prior": "p(x)", "posterior": "p(x | z) with z ~ q(z | x)"}
_TITLE = "Do data drawn from the model look like the data?"
_GELMAN = "Gelman, Meng and Stern, Posterior predictive assessment, 1996"


def predictive(subject: Subject) -> Section:
    r"""Predictive checks: p-values of statistics T of the data among data sets drawn from the model.

    .. math:: P(T(x_{\mathrm{rep}}) \ge T(x))

    x_rep is drawn from p(x), and from p(x | z) with z ~ q(z | x).

    A p-value near 0 or 1 says that the model does not give data with such a T. With samples from the posterior the data
    have been used twice, so that p-values tend to the middle: they are extreme only for gross misfits. What is masked
    or missing in the data counts in no T.
    """
    if reason := subject.too_long() or subject.no_data_of_its_own():
        return Section(_TITLE, skipped=reason)
    args = subject.rows(subject.affordable(_ROWS, _FEWEST, len(_KINDS) * _REPEATS))
    with subject.at_rest(6):
        _, elements, _ = subject.drawn_data(args)
    if not elements.any():
        return Section(_TITLE, skipped="all elements of the data are masked or missing")
    with subject.at_rest(6):
        drawn = {kind: _drawn(subject, args, kind == "posterior") for kind in _KINDS}
    here = _told(args[0], elements)
    rows = []
    for kind, repeats in drawn.items():
        for index, name in enumerate(_STATISTICS):
            there, value = repeats[:, index], here[index]
            p_value = float((there > value).mean() + (there == value).mean() / 2)
            far = abs(value - there.mean()) > _FAR * there.std() + 1e-6 * abs(value)
            rows.append({"draws": kind, "statistic": name, "data": value, "p_value": p_value,
                         "mean": there.mean(), "sd": there.std(), "far": bool(far)})  # fmt: skip
    table = pd.DataFrame(rows)
    picture = Picture(
        "Predictive checks",
        "Statistics of data sets that the model draws, in the first row from the prior, in the second from the "
        "guide's posterior; the line is that of the data.",
        lambda: _draw(drawn, here),
    )
    return Section(_TITLE, tuple(_figures(table)), (picture,), table)


def _told(x: Tensor, elements: Tensor) -> np.ndarray:
    """The statistics of the elements of a data set that count."""
    numbers = x[elements].detach().cpu().double().numpy()
    return np.array([statistic(numbers) for statistic in _STATISTICS.values()])


def _drawn(subject: Subject, args: tuple[Tensor, ...], given: bool) -> np.ndarray:
    """Statistics (R, T) of data sets from the prior, or from the guide's latents of the data."""
    found = []
    for _ in range(_REPEATS):
        guide = poutine.trace(subject.pair.guide).get_trace(*args) if given else poutine.Trace()
        with poutine.replay(trace=guide):
            new, elements, _ = subject.drawn_data(args)
        found.append(_told(new, elements))
    return np.stack(found)


def _figures(table: pd.DataFrame) -> list[Finding]:
    figures = []
    for kind, program in _KINDS.items():
        part = table[table["draws"] == kind]
        worst = part.loc[((part["data"] - part["mean"]).abs() / part["sd"].clip(lower=1e-12)).idxmax()]
        told = (
            f"the {worst['statistic']} of draws from {program} is {worst['mean']:.3g} ± {worst['sd']:.2g}, that of the "
            f"data {worst['data']:.3g}; the most extreme of {len(part)} statistics"
        )
        figures.append(
            Finding(
                f"Bayesian p-value, {kind}",
                float(worst["p_value"]),
                told,
                threshold=f"the data within {_FAR} standard deviations of the samples",
                source=_GELMAN,
                advice=_advice(kind, str(worst["statistic"])) if part["far"].any() else "",
            )
        )
    return figures


def _advice(kind: str, statistic: str) -> str:
    if kind == "prior":
        return f"data drawn from the model have a different {statistic}: train longer, or take a learned prior"
    return f"the likelihood does not produce data with this {statistic}: try another one (see the reference)"


def _draw(drawn: dict[str, np.ndarray], here: np.ndarray) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    panels = figure.subplots(len(drawn), len(_STATISTICS))
    for row, (kind, repeats) in zip(panels, drawn.items(), strict=True):
        for axes, name, there, value in zip(row, _STATISTICS, repeats.T, here, strict=True):
            axes.hist(there, bins=25, alpha=0.5)
            axes.axvline(value, color="black")
            axes.set_title(f"{name}, {kind}", fontsize="small")
            axes.set_yticks([])
            axes.tick_params(labelsize="x-small")
    return figure
