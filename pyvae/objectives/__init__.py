"""Objectives: Pyro ELBOs, as values."""

from pyvae.objectives.capacity import CapacityELBO
from pyvae.objectives.default import default_objective
from pyvae.objectives.doubly_reparametrized import DReG
from pyvae.objectives.importance_weighted import CIWAE, MIWAE, ImportanceWeightedELBO
from pyvae.objectives.maximum_mean_discrepancy import InfoVAE
from pyvae.objectives.renyi import VariationalRenyiBound
from pyvae.objectives.reweighted_wake_sleep import ReweightedWakeSleep
from pyvae.objectives.schedules import Cyclical, Ramp, WarmUp
from pyvae.objectives.total_correlation import TotalCorrelationELBO
from pyvae.objectives.vimco import VIMCO
from pyvae.objectives.weighted import WeightedELBO

__all__ = [
    "CIWAE",
    "MIWAE",
    "VIMCO",
    "CapacityELBO",
    "Cyclical",
    "DReG",
    "ImportanceWeightedELBO",
    "InfoVAE",
    "Ramp",
    "ReweightedWakeSleep",
    "TotalCorrelationELBO",
    "VariationalRenyiBound",
    "WarmUp",
    "WeightedELBO",
    "default_objective",
]
