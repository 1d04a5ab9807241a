"""The figures that this package draws."""

import io

from matplotlib.figure import Figure

__all__ = ["NotebookFigure", "picture_bytes"]


class NotebookFigure(Figure):
    """A figure that notebooks show as it is, without pyplot, which would keep it for ever."""

    def _repr_png_(self) -> bytes:
        return picture_bytes(self, dpi=100)


def picture_bytes(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
