"""Parts of a page that answer to the pointer: SVG, and the few lines of script that every page carries."""

import base64
import io
import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from pyvae.pages.charts import Chart
from pyvae.pages.page import render
from pyvae.pages.plots import as_pictures

__all__ = ["live_charts", "live_map"]

_COLOURS = [to_hex(c) for c in (*matplotlib.colormaps["tab10"].colors, *matplotlib.colormaps["tab20"].colors[1::2])]
_PIXELS = 1e6  # of all small pictures together, so that the page stays small


def live_charts(charts: Sequence[Chart]) -> str:
    """Charts whose values can be read at the pointer, or at a finger."""
    return render("charts", charts=[_drawn(chart) for chart in charts])


def _drawn(chart: Chart) -> dict[str, object]:
    """A chart as the template takes it: in units of its SVG."""
    ticks_x, x = _scale(chart.at, 52, 310, integer=True)
    ticks_y, y = _scale(chart.numbers, 166, 12)
    curves = []
    for (name, values), colour in zip(chart.curves.items(), _COLOURS * len(chart.curves), strict=False):
        points = [(round(x(a), 1), round(y(v), 1)) for a, v in zip(chart.at, values, strict=True) if math.isfinite(v)]
        curves.append({"name": name, "colour": colour, "points": points})
    read = {
        "axis": chart.axis,
        "at": [_plain(a) for a in chart.at],
        "x": [round(x(a), 1) for a in chart.at],
        "curves": {name: [_plain(v, 4) for v in values] for name, values in chart.curves.items()},
    }
    shown = {"title": chart.title, "unit": chart.unit, "axis": chart.axis, "curves": curves, "read": read}
    return {**shown, "ticks_x": ticks_x, "ticks_y": ticks_y}


def live_map(
    points: np.ndarray,
    axes: tuple[str, str],
    classes: Sequence[int],
    names: Sequence[str],
    pictures: Mapping[str, Tensor],
) -> str:
    """A scatter plot that shows the datapoint under the pointer.

    Args:
        points: (N, 2).
        axes: the names of the axes.
        classes: the class of each point, −1 for none; empty without classes.
        names: of the classes.
        pictures: what to show of each datapoint, such as itself and its reconstruction, by name: N rows each.
    """
    ticks_x, x = _scale(points[:, 0], 58, 390)
    ticks_y, y = _scale(points[:, 1], 306, 10)
    at = [(round(x(a), 1), round(y(b), 1)) for a, b in points]
    found = sorted(set(classes))
    colours = {c: _COLOURS[c % len(_COLOURS)] if c >= 0 else "#9aa4b1" for c in found}
    tiles, sheet = _sheet(list(pictures.values()))
    read = {"at": at, "classes": [names[c] if c >= 0 else "" for c in classes], **tiles}
    return render(
        "map",
        axes=axes,
        ticks_x=ticks_x,
        ticks_y=ticks_y,
        points=[(*p, colours[c]) for p, c in zip(at, classes or [-1] * len(at), strict=True)] if classes else
               [(*p, _COLOURS[0]) for p in at],
        legend=[(names[c] if c >= 0 else "no label", colours[c]) for c in found] if len(found) <= len(_COLOURS) else [],
        names=list(pictures),
        sheet=sheet,
        read=read,
    )  # fmt: skip


def _scale(values: Sequence[float], start: float, end: float, integer: bool = False) -> tuple[list, object]:
    """Ticks (place, text), and the function from values to places."""
    low, high = float(np.min(values)), float(np.max(values))
    margin = 0.5 if low == high else (0 if integer else 0.04 * (high - low))
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return start + (float(value) - low) / (high - low) * (end - start)

    ticks = [t for t in MaxNLocator(5, integer=integer).tick_values(low, high) if low <= t <= high]
    return [(round(place(t), 1), _plain(t, 6)) for t in ticks], place


def _plain(value: float, digits: int = 6) -> str:
    """A number as it is read, to so many digits."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}g}"
    return (f"{float(text):g}" if abs(float(text)) < 1e6 else text).replace("-", "−")


def _sheet(pictures: Sequence[Tensor]) -> tuple[dict[str, int], str]:
    """All small pictures on one, row by row, as a PNG in base64; and how they lie there."""
    from PIL import Image

    tiles = torch.cat([_tiles(x, len(x) * len(pictures)) for x in pictures])
    count, channels, height, width = tiles.shape
    columns = math.ceil(math.sqrt(count * height / width))
    rows = math.ceil(count / columns)
    finite = tiles[tiles.isfinite()]
    ends = finite.aminmax() if height > 1 else finite.quantile(torch.tensor([0.01, 0.99]))  # vectors may have outliers
    low, high = map(float, ends)
    grey = ((tiles - low) / max(high - low, 1e-12)).clamp(0, 1).nan_to_num(1).mul(255).round().byte()
    sheet = torch.full((rows * columns, channels, height, width), 255, dtype=torch.uint8)
    sheet[:count] = grey
    sheet = sheet.unflatten(0, (rows, columns)).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    buffer = io.BytesIO()
    Image.fromarray(sheet.squeeze(-1).numpy()).save(buffer, "png", optimize=True)
    lay = {"columns": columns, "width": width, "height": height, "count": len(pictures[0])}
    return lay, base64.b64encode(buffer.getvalue()).decode()


def _tiles(x: Tensor, count: int) -> Tensor:
    """Images as they are or, if they are large, smaller; vectors as strips of one pixel's height."""
    x = as_pictures(x).detach().cpu().float()
    x = x.flatten(1)[:, None, None] if x.dim() != 4 or x.shape[1] not in (1, 3) else x
    ratio = max(1.0, x[0, 0].numel() * count / _PIXELS)
    factor = math.ceil(ratio if x.shape[2] == 1 else math.sqrt(ratio))
    size = [max(1, n // factor) for n in x.shape[2:]]
    return x if factor == 1 else torch.nn.functional.interpolate(x, size, mode="area")
