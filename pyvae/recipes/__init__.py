"""Recipes: typed functions that return complete pairs. The command line is made from their signatures."""

from pyvae.recipes.codes import conditional_vqvae, speech, vqvae, vqvae2
from pyvae.recipes.diffusions import diffusion
from pyvae.recipes.hierarchies import hierarchical, ladder
from pyvae.recipes.vaes import burda, conditional, convolutional, gaussian

__all__ = [
    "burda",
    "conditional",
    "conditional_vqvae",
    "convolutional",
    "diffusion",
    "gaussian",
    "hierarchical",
    "ladder",
    "speech",
    "vqvae",
    "vqvae2",
]
