"""Pictures and rows of results: of codes, of figures by datapoint, of differences, of epochs."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from pyvae.pages.figure import NotebookFigure

__all__ = ["draw_code_use", "draw_differences", "draw_values", "epoch_rows", "with_errors"]


def draw_code_use(counts: Mapping[str, Tensor]) -> Figure:
    """The frequencies of codes, the most frequent first, and uniform use as a line; ``counts`` (K,) by site."""
    figure = NotebookFigure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, len(counts), squeeze=False)[0]
    for axes, (name, count) in zip(panels, counts.items(), strict=True):
        shares = np.sort(np.asarray(count.double() / count.sum()))[::-1]
        used = shares[shares > 0]
        axes.bar(range(len(shares)), shares, width=1)
        axes.axhline(1 / len(shares), color="black", linewidth=0.8)
        perplexity = float(np.exp(-(used * np.log(used)).sum()))
        axes.set(title=f"{name}: perplexity {perplexity:.1f}", xlabel="code, by rank", ylabel="share")
    return figure


def draw_values(values: Mapping[str, Tensor], unit: str) -> Figure:
    """Histograms of figures by datapoint, (N,) by name, with their means as lines."""
    figure = NotebookFigure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    finite = {name: np.asarray(v.detach().cpu()) for name, v in values.items()}
    bins = np.histogram_bin_edges(np.concatenate([v[np.isfinite(v)] for v in finite.values()]), 40)
    for name, numbers in finite.items():
        _, _, drawn = axes.hist(numbers, bins, alpha=0.55, label=f"{name}, mean {numbers.mean():.2f}")
        axes.axvline(numbers.mean(), color=drawn[0].get_facecolor()[:3])
    axes.set(xlabel=unit, ylabel="datapoints")
    axes.legend(frameon=False)
    return figure


def draw_differences(names: Sequence[str], values: Sequence[float], errors: Sequence[float], unit: str) -> Figure:
    """Differences from the best, from above, with bars of 2 standard errors."""
    figure = NotebookFigure(figsize=(6, 0.8 + 0.4 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.errorbar(values, range(len(names)), xerr=[2 * error for error in errors], fmt="o", capsize=3)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel=unit, ylim=(len(names) - 0.5, -0.5))
    return figure


def epoch_rows(history: Sequence[Mapping[str, float]], best: int) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table of the first, the best and the last epoch."""
    chosen = {"first": 1, "best": best, "last": len(history)}
    heads = ["epoch", "ELBO, training", "ELBO, validation", "reconstruction", "KL"]
    rows = []
    for epoch in sorted({number for number in chosen.values() if 0 < number <= len(history)}):
        row, name = history[epoch - 1], ", ".join(name for name, number in chosen.items() if number == epoch)
        split = "validation" if "validation_elbo" in row else "train"
        columns = ("train_elbo", "validation_elbo", f"{split}_reconstruction", f"{split}_kl")
        rows.append([f"{epoch} ({name})", *(f"{row[c]:z.3f}" if c in row else "" for c in columns)])
    return heads, rows


def with_errors(table: pd.DataFrame) -> list[list[str]]:
    """The rows of a table of figures as text; what is NaN is left blank."""
    return [
        [str(name).replace("_", " "), *("" if math.isnan(v) else f"{v:z.3f}" for v in map(float, row))]
        for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
