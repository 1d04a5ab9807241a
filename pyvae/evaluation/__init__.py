"""Evaluation: figures of any pair on data, in nats."""

from pyvae.evaluation.arviz_bridge import good_k, pareto_smoothed
from pyvae.evaluation.classification import Classification, classification
from pyvae.evaluation.code_usage import CodeUsage, code_usage
from pyvae.evaluation.estimates import ELBOEstimate, Estimate, Evaluation
from pyvae.evaluation.evaluate import elbo, evaluate, log_likelihood
from pyvae.evaluation.imputation import impute
from pyvae.evaluation.log_weights import log_weights

__all__ = [
    "Classification",
    "CodeUsage",
    "ELBOEstimate",
    "Estimate",
    "Evaluation",
    "classification",
    "code_usage",
    "elbo",
    "evaluate",
    "good_k",
    "impute",
    "log_likelihood",
    "log_weights",
    "pareto_smoothed",
]
