"""Objectives: Pyro ELBOs, as values."""

from pyvae.objectives.default import default_objective
from pyvae.objectives.doubly_reparametrized import DReG
from pyvae.objectives.importance_weighted import CIWAE, MIWAE, ImportanceWeightedELBO
from pyvae.objectives.renyi import VariationalRenyiBound
from pyvae.objectives.reweighted_wake_sleep import ReweightedWakeSleep
from pyvae.objectives.vimco import VIMCO
from pyvae.objectives.weighted import WarmUp, WeightedELBO

__all__ = [
    "CIWAE",
    "MIWAE",
    "VIMCO",
    "DReG",
    "ImportanceWeightedELBO",
    "ReweightedWakeSleep",
    "VariationalRenyiBound",
    "WarmUp",
    "WeightedELBO",
    "default_objective",
]
