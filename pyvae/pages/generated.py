"""Pictures of what a pair makes: samples, reconstructions, traversals."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyvae.pages.plots import draw_grid, draw_rows

__all__ = ["PER_ROW", "draw_columns", "draw_reconstructions", "draw_samples", "draw_traversal"]

PER_ROW = 10


def draw_samples(x: Tensor, labels: Tensor | None, names: Sequence[str] = ()) -> Figure:
    """Generated data, a row for each class if labels are given, which are then in order; ``names`` are the classes'."""
    if labels is None:
        return draw_grid(x, min(len(x), PER_ROW))
    classes, counts = labels.unique_consecutive(return_counts=True)
    return draw_rows(x.split(counts.tolist()), [names[c] if names else str(c) for c in classes.tolist()])


def draw_reconstructions(x: Tensor, originals: Tensor, label: str = "decoded") -> Figure:
    """Data in the upper rows, their reconstructions in the lower ones."""
    columns = min(len(x), PER_ROW)
    blocks = zip(originals.split(columns), x.split(columns), strict=True)
    rows = [part for block in blocks for part in block]
    return draw_rows(rows, ["data", label] * (len(rows) // 2))


def draw_columns(columns: Sequence[Tensor], names: Sequence[str]) -> Figure:
    """A column of images for each name, so that each row belongs together; for vectors, one panel for each name."""
    if columns[0].dim() != 4:
        return draw_rows(columns, names)
    return draw_grid(torch.stack(list(columns), 1).flatten(0, 1), len(columns), column_labels=names)


def draw_traversal(x: Tensor, site: str, dims: Sequence[int], values: Sequence[float]) -> Figure:
    """A row for each dimension, a column for each value.

    Args:
        x: (dims, values, …), as :func:`pyvae.traverse` gives it.
        site: the name of the latent.
        dims: which of its dimensions.
        values: in standard deviations of the prior.
    """
    rows = [f"{site}[{dim}]" for dim in dims]
    if x.dim() == 5:
        return draw_grid(x.flatten(0, 1), len(values), rows, [f"{round(value, 1) + 0.0:+.1f}" for value in values])
    return draw_rows(list(x), rows)
