"""Whether data that the model would give look like the data: predictive checks."""

import pandas as pd
import torch
from matplotlib.figure import Figure as Drawing
from pyro import poutine
from torch import Tensor

from pyvae.diagnostics.sections.section import Figure, Picture, Section
from pyvae.diagnostics.sections.subject import Subject

__all__ = ["predictive"]

_ROWS, _REPEATS = 200, 200
_EXTREME = 0.01
_STATISTICS = {
    "mean": lambda x: x.mean(-1),
    "standard deviation": lambda x: x.std(-1),
    "5 % quantile": lambda x: x.quantile(0.05, -1),
    "95 % quantile": lambda x: x.quantile(0.95, -1),
}
_KINDS = {"prior": "p(x)", "posterior": "p(x | z), z ~ q(z | x),"}
_TITLE = "Do data of the model look like the data?"
_GELMAN = "Gelman, Meng and Stern, Posterior predictive assessment, 1996"


def predictive(subject: Subject) -> Section:
    r"""P(T(x_rep) ≥ T(x)) for statistics T of a data set, x_rep drawn from p(x), and from p(x | z) with z ~ q(z | x).

    A p-value near 0 or 1 says that the model does not give data with such a T. With draws from the posterior the data
    have been used twice, so that p-values tend to the middle: they are extreme only for gross misfits.
    """
    if reason := subject.too_long() or subject.no_data_of_its_own():
        return Section(_TITLE, skipped=reason)
    args = subject.rows(_ROWS)
    x = args[0]
    with subject.at_rest(6):
        drawn = {kind: _drawn(subject, args, kind == "posterior") for kind in _KINDS}
    rows, pictured = [], {}
    for kind, repeats in drawn.items():
        for name, statistic in _STATISTICS.items():
            # of each datum, then over all data, so that no reduction is of more numbers than it can take
            here, there = (statistic(t.flatten(t.dim() - x.dim() + 1)).mean(-1) for t in (x, repeats))
            p_value = float((there > here).float().mean() + (there == here).float().mean() / 2)
            rows.append({"draws": kind, "statistic": name, "data": float(here), "p_value": p_value,
                         "mean": float(there.mean()), "sd": float(there.std())})  # fmt: skip
            pictured[kind, name] = there.cpu(), float(here)
    table = pd.DataFrame(rows)
    picture = Picture(
        "Predictive checks",
        "Statistics of data sets that the model draws, in the first row from the prior, in the second from the "
        "guide's posterior; the line is that of the data.",
        lambda: _draw(pictured),
    )
    return Section(_TITLE, tuple(_figures(table)), (picture,), table)


def _drawn(subject: Subject, args: tuple[Tensor, ...], given: bool) -> Tensor:
    """Data sets (R, N, *event) from the prior, or from the guide's latents of the data."""
    name = subject.inspection.observed[0]
    found = []
    for _ in range(_REPEATS):
        guide = poutine.trace(subject.pair.guide).get_trace(*args) if given else poutine.Trace()
        with poutine.replay(trace=guide):
            found.append(subject.draw_model(args).nodes[name]["value"])
    return torch.stack(found).to(args[0])


def _figures(table: pd.DataFrame) -> list[Figure]:
    figures = []
    for kind, program in _KINDS.items():
        part = table[table["draws"] == kind]
        far = part["p_value"].clip(upper=1 - part["p_value"])
        worst = part.loc[far.idxmin()]
        extreme = float(far.min()) < _EXTREME / len(part)
        told = (
            f"{worst['statistic']} of {program} is {worst['mean']:.3g} ± {worst['sd']:.2g}, of the data "
            f"{worst['data']:.3g}; the most extreme of {len(part)} statistics"
        )
        figures.append(
            Figure(
                f"Bayesian p-value, {kind}",
                float(worst["p_value"]),
                told,
                threshold=f"between {_EXTREME / len(part):.2g} and 1 − {_EXTREME / len(part):.2g}",
                source=_GELMAN,
                advice=_advice(kind, str(worst["statistic"])) if extreme else "",
            )
        )
    return figures


def _advice(kind: str, statistic: str) -> str:
    if kind == "prior":
        return f"data drawn from the model have another {statistic}: train longer, or take a learned prior"
    return f"the likelihood does not give data with such a {statistic}: another likelihood may (see the reference)"


def _draw(pictured: dict[tuple[str, str], tuple[Tensor, float]]) -> Drawing:
    figure = Drawing(figsize=(9, 4), layout="constrained")
    panels = figure.subplots(2, len(_STATISTICS))
    for axes, ((kind, name), (repeats, here)) in zip(panels.flat, pictured.items(), strict=True):
        axes.hist(repeats.numpy(), bins=25, alpha=0.5)
        axes.axvline(here, color="black")
        axes.set_title(f"{name}, {kind}", fontsize="small")
        axes.set_yticks([])
        axes.tick_params(labelsize="x-small")
    return figure
