"""Pictures of data, of latents and of training."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from torch import Tensor

from pyvae.checkpoint import write_atomically

__all__ = ["draw_curves", "draw_grid", "draw_latents", "draw_rows", "picture_bytes", "save_picture"]


def draw_grid(x: Tensor, columns: int, row_labels: Sequence[str] = ()) -> Figure:
    """Images in rows of ``columns``, from black to white over the range of x; vectors as the rows of one picture.

    Args:
        x: images (N, channels, height, width) or events of any other shape.
        columns: images per row.
        row_labels: names of the rows.
    """
    array = np.asarray(x.detach().cpu().float())
    low, high = array.min(), array.max()
    if array.ndim != 4 or array.shape[1] not in (1, 3):
        figure = Figure(figsize=(7, 3.5), layout="constrained")
        axes = figure.subplots()
        picture = axes.imshow(array.reshape(len(array), -1), aspect="auto", cmap="viridis", vmin=low, vmax=high)
        figure.colorbar(picture)
        axes.set(xlabel="element", ylabel="datapoint")
        return figure
    count, channels, height, width = array.shape
    rows = math.ceil(count / columns)
    tiles = np.full((rows * columns, channels, height + 2, width + 2), high, dtype=np.float32)
    tiles[:count, :, 1:-1, 1:-1] = array
    sheet = tiles.reshape(rows, columns, channels, height + 2, width + 2).transpose(0, 3, 1, 4, 2)
    sheet = sheet.reshape(rows * (height + 2), columns * (width + 2), channels)
    sheet = np.clip((sheet - low) / max(high - low, 1e-12), 0, 1)
    figure = Figure(figsize=(0.62 * columns + 0.9 * bool(row_labels), 0.62 * rows), layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet.squeeze(-1) if channels == 1 else sheet, cmap="gray", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([(height + 2) * (r + 0.5) for r in range(len(row_labels))], row_labels)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def draw_rows(rows: Sequence[Tensor], row_labels: Sequence[str]) -> Figure:
    """One row of images per tensor, each with its label; shorter rows end in blank."""
    columns = max(len(row) for row in rows)
    high = max(float(row.max()) for row in rows)
    padded = [torch.cat([row, row.new_full((columns - len(row), *row.shape[1:]), high)]) for row in rows]
    return draw_grid(torch.cat(padded), columns, row_labels)


def draw_curves(history: Sequence[dict[str, float]]) -> Figure:
    """ELBO, reconstruction and KL over the epochs, of training and validation."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    panels = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in history]
    for axes, term, title in zip(
        panels, ("elbo", "reconstruction", "kl"), ("ELBO", "reconstruction E[log p(x|z)]", "KL(q‖p)"), strict=True
    ):
        for split, style in (("train", "-"), ("validation", "--")):
            if f"{split}_{term}" in history[0]:
                axes.plot(epochs, [row[f"{split}_{term}"] for row in history], style, label=split)
        axes.set(title=title, xlabel="epoch", ylabel="nats per datapoint")
        if axes.lines:
            axes.legend(frameon=False)
    return figure


def draw_latents(means: Tensor, labels: Tensor | None) -> Figure:
    """Posterior means in the plane: as they are, or their two principal components; coloured by label."""
    points = np.asarray(means.detach().cpu().flatten(1).double())
    names = ("z₁", "z₂")
    if points.shape[1] > 2:
        points = PCA(2).fit_transform(points)
        names = ("first principal component", "second principal component")
    elif points.shape[1] == 1:
        points = np.concatenate([points, np.zeros_like(points)], 1)
    figure = Figure(figsize=(5.5, 4.5), layout="constrained")
    axes = figure.subplots()
    colours = None if labels is None else np.asarray(labels.cpu())
    style = {} if colours is None else {"c": colours, "cmap": "tab10"}
    drawn = axes.scatter(*points.T, s=6, alpha=0.7, **style)
    axes.set(xlabel=names[0], ylabel=names[1])
    if colours is not None and len(np.unique(colours)) <= 20:
        axes.legend(*drawn.legend_elements(num=None), title="class", frameon=False, bbox_to_anchor=(1, 1))
    return figure


def picture_bytes(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def save_picture(path: Path, figure: Figure) -> None:
    """Write the figure as a PNG, in one step."""
    write_atomically(path, picture_bytes(figure))
