"""Objectives: Pyro ELBOs, as values."""

from pyvae.objectives.default import default_objective
from pyvae.objectives.weighted import WarmUp, WeightedELBO

__all__ = ["WarmUp", "WeightedELBO", "default_objective"]
