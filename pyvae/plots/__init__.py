"""Plots: figures of what a pair makes of data, from the pair and the data alone.

Each function returns a Matplotlib figure, which a notebook shows and ``figure.savefig`` writes.
"""

from pyvae.plots.curves import curves
from pyvae.plots.generated import data, reconstructions, samples
from pyvae.plots.latents import latents, traversal

__all__ = ["curves", "data", "latents", "reconstructions", "samples", "traversal"]
