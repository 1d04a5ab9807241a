"""Objectives: Pyro ELBOs, as values."""

from pyvae.objectives.default import default_objective

__all__ = ["default_objective"]
