"""What a notebook shows of a result: a title, some sentences, a table, a picture."""

import base64
from collections.abc import Sequence

from matplotlib.figure import Figure

from pyvae.pages.figure import picture_bytes
from pyvae.pages.page import render

__all__ = ["snippet"]

_COLOURS = {"green": "#2e9e4b", "amber": "#e59a1c", "red": "#d43c34", "grey": "#9aa4b1"}


def snippet(
    title: str,
    heads: Sequence[str] = (),
    rows: Sequence[Sequence[str]] = (),
    sentences: Sequence[str | tuple[str, str]] = (),
    figure: Figure | None = None,
) -> str:
    """A piece of HTML without a style sheet of its own.

    Args:
        title: what it is.
        heads: of the columns of the table.
        rows: of the table.
        sentences: above the table; each alone, or after the name of its light.
        figure: below the table.
    """
    return render(
        "snippet",
        title=title,
        heads=heads,
        rows=rows,
        sentences=[("", s) if isinstance(s, str) else s for s in sentences],
        colours=_COLOURS,
        picture=figure and base64.b64encode(picture_bytes(figure, dpi=80)).decode(),
    )
