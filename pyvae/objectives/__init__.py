"""Objectives: Pyro ELBOs, as values."""

from pyvae.objectives.default import default_objective
from pyvae.objectives.importance_weighted import VIMCO, ImportanceWeightedELBO
from pyvae.objectives.weighted import WarmUp, WeightedELBO

__all__ = ["VIMCO", "ImportanceWeightedELBO", "WarmUp", "WeightedELBO", "default_objective"]
