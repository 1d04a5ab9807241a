"""The parts of a diagnosis: sections of figures with verdicts and pictures."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import matplotlib.figure
import pandas as pd
from matplotlib.axes import Axes

__all__ = ["Finding", "Picture", "Section", "draw_first_six"]


@dataclass(frozen=True)
class Finding:
    """A number with its meaning and advice.

    Attributes:
        name: what the number is.
        value: the number.
        meaning: its meaning, in one sentence.
        unit: nats, bits, %, or nothing.
        standard_error: Monte Carlo standard error, which more samples reduce; NaN where there is none.
        error_is_at_least: whether the Monte Carlo error is a lower limit only, as few draws make all of it.
        dataset_standard_error: test-set sampling error, which more data reduce; NaN where there is none.
        threshold: what it should be.
        source: the reference of threshold or figure.
        advice: what to do where the figure is beyond its threshold; else empty.
    """

    name: str
    value: float
    meaning: str
    unit: str = ""
    standard_error: float = math.nan
    dataset_standard_error: float = math.nan
    threshold: str = ""
    source: str = ""
    advice: str = ""
    error_is_at_least: bool = False

    @property
    def verdict(self) -> str:
        """``"ok"``, ``"warning"``, or nothing for a figure that has no threshold."""
        if self.advice:
            return "warning"
        return "ok" if self.threshold else ""

    @property
    def text(self) -> str:
        """The value with its unit, to a sensible number of digits."""
        if not math.isfinite(self.value):
            return "−∞" if self.value < 0 else str(self.value)
        if self.unit == "%":
            return f"{self.value:.0f} %" if self.value >= 10 or self.value == 0 else f"{self.value:.1f} %"
        if float(self.value).is_integer() and not self.unit:
            return f"{self.value:.0f}"
        if 0 < abs(self.value) < 0.0005:
            return f"{self.value:.0e} {self.unit}".rstrip()
        return f"{self.value:.{2 if abs(self.value) >= 1 else 3}f} {self.unit}".rstrip()


@dataclass(frozen=True)
class Picture:
    """A picture with its title and a sentence on how to read it; drawn when it is wanted."""

    title: str
    meaning: str
    draw: Callable[[], matplotlib.figure.Figure]


@dataclass(frozen=True)
class Section:
    """One part of a diagnosis.

    Attributes:
        title: its question.
        figures: its figures.
        pictures: its pictures.
        table: numbers per datapoint or per latent dimension, for work of one's own.
        skipped: one sentence that says why there is nothing here; empty if there is.
    """

    title: str
    figures: tuple[Finding, ...] = ()
    pictures: tuple[Picture, ...] = ()
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    skipped: str = ""


def draw_first_six(table: pd.DataFrame, draw: Callable[[Axes, pd.Series], None]) -> matplotlib.figure.Figure:
    """A panel for each of the first rows, latent dimensions, which draws itself and its title."""
    shown = table.head(6)
    rows = math.ceil(len(shown) / 3)
    figure = matplotlib.figure.Figure(figsize=(9, 2.2 * rows), layout="constrained")
    panels = figure.subplots(rows, 3, squeeze=False).flat
    for (_, row), axes in zip(shown.iterrows(), panels, strict=False):
        draw(axes, row)
        axes.title.set_fontsize("small")
        axes.set_yticks([])
    for axes in list(panels):
        axes.set_axis_off()
    return figure
