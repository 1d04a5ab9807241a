"""Curves over one axis, of which both a picture and a part of a page can be made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pyvae.pages.figure import NotebookFigure

__all__ = ["TERMS", "Chart", "draw_charts", "training_charts"]

#: the columns of a history that are drawn, and their titles
TERMS = {"elbo": "ELBO", "reconstruction": "Reconstruction, E[log p(x | z)]", "kl": "KL(q ‖ p)"}

_MARKED = 20  # fewer points than these are drawn as such


@dataclass(frozen=True)
class Chart:
    """Some curves over one axis.

    Attributes:
        title: of the chart.
        unit: of all curves.
        axis: the name of the axis.
        at: the places on the axis, ascending.
        curves: a value for each place, by the name of the curve; NaN where there is none.
    """

    title: str
    unit: str
    axis: str
    at: Sequence[float]
    curves: Mapping[str, Sequence[float]]

    @property
    def numbers(self) -> list[float]:
        """All values that can be drawn."""
        return [y for values in self.curves.values() for y in values if math.isfinite(y)]


def training_charts(history: Sequence[Mapping[str, float]], terms: Mapping[str, str] = TERMS) -> list[Chart]:
    """A chart for each term of the ELBO over the epochs, of training and validation."""
    epochs = [row["epoch"] for row in history]
    charts = []
    for term, title in terms.items():
        splits = [split for split in ("train", "validation") if all(f"{split}_{term}" in row for row in history)]
        curves = {
            {"train": "training"}.get(split, split): [row[f"{split}_{term}"] for row in history] for split in splits
        }
        charts.append(Chart(title, "nats per datapoint", "epoch", epochs, curves))
    return [chart for chart in charts if chart.numbers]


def draw_charts(charts: Sequence[Chart]) -> Figure:
    """The charts side by side."""
    figure = NotebookFigure(figsize=(max(4, 3 * len(charts)), 3), layout="constrained")
    for axes, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
        for (name, values), style in zip(
            chart.curves.items(), ("-", "--", ":", "-.") * len(chart.curves), strict=False
        ):
            axes.plot(chart.at, values, style, label=name, marker="o" if len(chart.at) < _MARKED else None)
        axes.set(title=chart.title, xlabel=chart.axis, ylabel=chart.unit)
        axes.title.set_fontsize("medium")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(chart.curves) > 1:
            axes.legend(frameon=False)
    return figure
