"""Pictures of data, of latents and of the terms of the ELBO."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.decomposition import PCA
from sklearn.metrics import ConfusionMatrixDisplay
from torch import Tensor

from pyvae.core.files import write_atomically
from pyvae.pages.figure import NotebookFigure, picture_bytes

__all__ = [
    "as_pictures",
    "draw_code_maps",
    "draw_confusion",
    "draw_grid",
    "draw_latents",
    "draw_rows",
    "draw_terms",
    "latent_plane",
    "save_picture",
]

_WINDOW = 256


def draw_grid(x: Tensor, columns: int, row_labels: Sequence[str] = (), column_labels: Sequence[str] = ()) -> Figure:
    """Images in rows of ``columns``, from black to white over the range of x; vectors as the rows of one picture.

    Args:
        x: images (N, channels, height, width); signals (N, 1, samples), drawn as spectrograms; or other events.
        columns: images per row.
        row_labels: names of the rows.
        column_labels: names of the columns.
    """
    x = as_pictures(x)
    array = np.asarray(x.detach().cpu().float())
    if not _are_images(x):
        return _draw_vectors([array], [""])
    low, high = np.nanmin(array), np.nanmax(array)  # missing values stay blank
    count, channels, height, width = array.shape
    rows = math.ceil(count / columns)
    tiles = np.full((rows * columns, channels, height + 2, width + 2), high, dtype=np.float32)
    tiles[:count, :, 1:-1, 1:-1] = array
    sheet = tiles.reshape(rows, columns, channels, height + 2, width + 2).transpose(0, 3, 1, 4, 2)
    sheet = sheet.reshape(rows * (height + 2), columns * (width + 2), channels)
    sheet = np.clip((sheet - low) / max(high - low, 1e-12), 0, 1)
    margin = 0.3 + 0.085 * max(map(len, row_labels), default=0)  # in inches, for the letters
    longest = max(map(len, column_labels), default=0)
    upright = longest > 7  # else neighbours overlap
    above = 0.3 + 0.085 * longest * upright
    size = (0.62 * columns + margin * bool(row_labels), 0.62 * rows + above * bool(column_labels))
    figure = NotebookFigure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.imshow(sheet.squeeze(-1) if channels == 1 else sheet, cmap="gray", vmin=0, vmax=1)
    axes.set_xticks([(width + 2) * (c + 0.5) for c in range(len(column_labels))], column_labels)
    axes.set_yticks([(height + 2) * (r + 0.5) for r in range(len(row_labels))], row_labels)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.tick_params("x", rotation=90 if upright else 0)
    axes.spines[:].set_visible(False)
    return figure


def draw_rows(rows: Sequence[Tensor], row_labels: Sequence[str], columns: int = 20) -> Figure:
    """One row of images per tensor, with its label, wrapped after ``columns``; for vectors, one panel per label."""
    rows = [as_pictures(row) for row in rows]
    if not _are_images(rows[0]):
        labels = list(dict.fromkeys(row_labels))
        grouped = [[r for r, name in zip(rows, row_labels, strict=True) if name == label] for label in labels]
        return _draw_vectors([np.asarray(torch.cat(group).detach().cpu().float()) for group in grouped], labels)
    wrapped = [(part, name) for row, name in zip(rows, row_labels, strict=True) for part in row.split(columns)]
    width = max(len(part) for part, _ in wrapped)
    high = max(float(part.nan_to_num(-math.inf).max()) for part, _ in wrapped)  # missing values stay blank
    padded = [torch.cat([part, part.new_full((width - len(part), *part.shape[1:]), high)]) for part, _ in wrapped]
    return draw_grid(torch.cat(padded), width, [name for _, name in wrapped])


def as_pictures(x: Tensor) -> Tensor:
    """Long signals (N, 1, samples) as spectrograms, in decibels, low frequencies below; all else as it is."""
    if x.dim() != 3 or x.shape[1] != 1 or x.shape[2] < 2 * _WINDOW:
        return x
    window = torch.hann_window(_WINDOW, device=x.device)
    transformed = torch.stft(x[:, 0].float(), _WINDOW, x.shape[2] // 64, window=window, return_complex=True)
    decibels = 20 * transformed.abs().clamp_min(1e-5).log10()
    return decibels.clamp_min(float(decibels.max()) - 70).flip(1)[:, None]


def _are_images(x: Tensor) -> bool:
    return x.dim() == 4 and x.shape[1] in (1, 3)


def _draw_vectors(groups: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """One panel per group, a datapoint per row, all on one scale of colours."""
    low, high = min(np.nanmin(g) for g in groups), max(np.nanmax(g) for g in groups)  # missing values stay blank
    figure = NotebookFigure(figsize=(max(7, 2.2 * len(groups)), 3.5), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    for axes, group, title in zip(panels, groups, titles, strict=True):
        drawn = axes.imshow(
            group.reshape(len(group), -1), aspect="auto", cmap="viridis", vmin=low, vmax=high, interpolation="nearest"
        )
        axes.set(xlabel="element", title=title)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    panels[0].set_ylabel("datapoint")
    figure.colorbar(drawn, ax=list(panels))
    return figure


def draw_terms(terms: dict[str, float], history: Sequence[dict[str, float]]) -> Figure:
    """The KL of each latent at the end, and over the epochs where it was logged."""
    split = "validation" if any(f"validation_kl_{name}" in history[0] for name in terms) else "train"
    logged = [name for name in terms if f"{split}_kl_{name}" in history[0]]
    figure = NotebookFigure(figsize=(9, 3), layout="constrained")
    left, right = figure.subplots(1, 2) if logged else (figure.subplots(), None)
    if len(terms) <= 20:
        left.bar(list(terms), list(terms.values()))
    else:
        left.step(range(len(terms)), list(terms.values()), where="mid")
        ticks = list(range(0, len(terms), len(terms) // 8))
        left.set_xticks(ticks, [list(terms)[i] for i in ticks])
    left.axhline(0, color="black", linewidth=0.8)
    left.set(title="KL of each latent, test data", ylabel="nats per datapoint")
    if right is not None:
        epochs = [row["epoch"] for row in history]
        for name in logged:
            marker = "o" if len(epochs) < 20 else None
            right.plot(epochs, [row[f"{split}_kl_{name}"] for row in history], label=name, marker=marker)
        right.set(title=f"over the epochs, {split}", xlabel="epoch")
        right.xaxis.set_major_locator(MaxNLocator(integer=True))
        right.legend(frameon=False)
    return figure


def latent_plane(means: Tensor) -> tuple[np.ndarray, tuple[str, str]]:
    """Latents (N, …) as points in the plane, as they are or their two principal components, and the axes' names."""
    points = np.asarray(means.detach().cpu().flatten(1).double())
    if points.shape[1] > 2:
        return PCA(2).fit_transform(points), ("first principal component", "second principal component")
    if points.shape[1] == 1:
        points = np.concatenate([points, np.zeros_like(points)], 1)
    return points, ("z₁", "z₂")


def draw_latents(means: Tensor, classes: Sequence[int] = (), names: Sequence[str] = ()) -> Figure:
    """Posterior means in the :func:`latent_plane`, coloured by class.

    Args:
        means: (N, …).
        classes: the class of each, −1 for none; empty without classes.
        names: of the classes.
    """
    points, axis_names = latent_plane(means)
    figure = NotebookFigure(figsize=(5.5, 4.5), layout="constrained")
    axes = figure.subplots()
    found, labels = sorted(set(classes)), np.asarray(classes)
    colours = matplotlib.colormaps["tab10" if len(found) <= 10 else "tab20"]
    if found:
        for c in found:
            style = {"color": colours(c % colours.N), "label": names[c]} if c >= 0 else {"color": "lightgrey"}
            axes.scatter(*points[labels == c].T, s=6, alpha=0.7, **style)
    else:
        axes.scatter(*points.T, s=6, alpha=0.7)
    axes.set(xlabel=axis_names[0], ylabel=axis_names[1])
    if 0 < len(found) <= 20:
        axes.legend(title="class", frameon=False, bbox_to_anchor=(1, 1), loc="upper left")
    return figure


def draw_code_maps(x: Tensor, maps: Mapping[str, Tensor], sizes: Mapping[str, int]) -> Figure:
    """Images in the first row; below, for each site of codes, a colour for each code of their grids.

    Args:
        x: images (N, channels, height, width).
        maps: integers (N, height, width), by the name of the site.
        sizes: the number K of codes, by the name of the site.
    """
    figure = NotebookFigure(figsize=(0.75 * len(x) + 0.9, 0.8 * (1 + len(maps))), layout="constrained")
    rows = figure.subplots(1 + len(maps), len(x), squeeze=False)
    pictures = x.detach().cpu().float()
    low, high = float(pictures.min()), float(pictures.max())
    for axes, picture in zip(rows[0], (pictures - low) / max(high - low, 1e-12), strict=True):
        axes.imshow(np.asarray(picture.permute(1, 2, 0).squeeze(-1)), cmap="gray", vmin=0, vmax=1)
    for row, (name, codes) in zip(rows[1:], maps.items(), strict=True):
        for axes, grid in zip(row, codes.cpu(), strict=True):
            axes.imshow(np.asarray(grid), cmap="nipy_spectral", vmin=0, vmax=sizes[name] - 1, interpolation="nearest")
        row[0].set_ylabel(name)
    rows[0][0].set_ylabel("data")
    for axes in rows.flat:
        axes.set(xticks=[], yticks=[])
    return figure


def draw_confusion(confusion: Tensor, names: Sequence[str]) -> Figure:
    """Counts by known class, in rows, and inferred class, in columns; ``names`` are the classes'."""
    size = 2 + 0.35 * len(confusion)
    figure = NotebookFigure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    display = ConfusionMatrixDisplay(np.asarray(confusion), display_labels=names)
    display.plot(ax=axes, cmap="Blues", colorbar=False, include_values=len(confusion) <= 20)
    axes.set(xlabel="inferred class", ylabel="known class")
    return figure


def save_picture(path: Path, figure: Figure) -> None:
    """Write the figure as a PNG, in one step."""
    write_atomically(path, picture_bytes(figure))
