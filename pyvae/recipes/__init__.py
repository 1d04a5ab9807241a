"""Recipes: typed functions that return complete pairs. The command line is made from their signatures."""

from pyvae.recipes.diffusions import diffusion
from pyvae.recipes.hierarchies import hierarchical, ladder
from pyvae.recipes.vaes import burda, conditional, convolutional, gaussian

__all__ = ["burda", "conditional", "convolutional", "diffusion", "gaussian", "hierarchical", "ladder"]
