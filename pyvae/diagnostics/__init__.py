"""Diagnostics: numbers from any pair."""

from pyvae.diagnostics.codes import CodeUsage, code_usage
from pyvae.diagnostics.estimates import ELBOEstimate, Estimate, Evaluation
from pyvae.diagnostics.evaluation import elbo, evaluate, log_likelihood
from pyvae.diagnostics.imputation import impute
from pyvae.diagnostics.log_weights import log_weights

__all__ = [
    "CodeUsage",
    "ELBOEstimate",
    "Estimate",
    "Evaluation",
    "code_usage",
    "elbo",
    "evaluate",
    "impute",
    "log_likelihood",
    "log_weights",
]
