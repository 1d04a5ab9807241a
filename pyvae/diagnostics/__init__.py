"""Diagnostics: numbers from any pair."""

from pyvae.diagnostics.arviz_bridge import good_k, pareto_smoothed
from pyvae.diagnostics.codes import CodeUsage, code_usage
from pyvae.diagnostics.comparison import Comparison, Difference, compare
from pyvae.diagnostics.diagnosis import SECTIONS, Diagnosis, diagnose
from pyvae.diagnostics.disentanglement import Disentanglement, disentanglement
from pyvae.diagnostics.estimates import ELBOEstimate, Estimate, Evaluation
from pyvae.diagnostics.evaluation import elbo, evaluate, log_likelihood
from pyvae.diagnostics.factor_scores import (
    factor_vae_score,
    mutual_information,
    mutual_information_gap,
    sap,
)
from pyvae.diagnostics.imputation import impute
from pyvae.diagnostics.inference_data import to_inference_data
from pyvae.diagnostics.latent_means import posterior_means
from pyvae.diagnostics.log_weights import log_weights
from pyvae.diagnostics.probes import DCI, dci, linear_probe

__all__ = [
    "DCI",
    "SECTIONS",
    "CodeUsage",
    "Comparison",
    "Diagnosis",
    "Difference",
    "Disentanglement",
    "ELBOEstimate",
    "Estimate",
    "Evaluation",
    "code_usage",
    "compare",
    "dci",
    "diagnose",
    "disentanglement",
    "elbo",
    "evaluate",
    "factor_vae_score",
    "good_k",
    "impute",
    "linear_probe",
    "log_likelihood",
    "log_weights",
    "mutual_information",
    "mutual_information_gap",
    "pareto_smoothed",
    "posterior_means",
    "sap",
    "to_inference_data",
]
