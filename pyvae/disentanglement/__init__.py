"""Disentanglement: representations compared with known factors."""

from pyvae.disentanglement.disentanglement import Disentanglement, disentanglement
from pyvae.disentanglement.probes import DCI, dci, linear_probe
from pyvae.disentanglement.scores import factor_vae_score, mutual_information, mutual_information_gap, sap

__all__ = [
    "DCI",
    "Disentanglement",
    "dci",
    "disentanglement",
    "factor_vae_score",
    "linear_probe",
    "mutual_information",
    "mutual_information_gap",
    "sap",
]
