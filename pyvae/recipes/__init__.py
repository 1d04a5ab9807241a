"""Recipes: typed functions that return complete pairs. The command line is made from their signatures."""

from pyvae.recipes.codes import conditional_vqvae, speech, vqvae, vqvae2
from pyvae.recipes.counts import counts
from pyvae.recipes.diffusions import diffusion
from pyvae.recipes.hierarchies import hierarchical, ladder
from pyvae.recipes.incomplete import incomplete
from pyvae.recipes.semi_supervised import semi_supervised
from pyvae.recipes.vaes import burda, conditional, convolutional, gaussian

__all__ = [
    "burda",
    "conditional",
    "conditional_vqvae",
    "convolutional",
    "counts",
    "diffusion",
    "gaussian",
    "hierarchical",
    "incomplete",
    "ladder",
    "semi_supervised",
    "speech",
    "vqvae",
    "vqvae2",
]
