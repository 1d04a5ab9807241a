"""Diagnostics: numbers from any pair."""

from importlib import import_module
from typing import TYPE_CHECKING

from pyvae.diagnostics.arviz_bridge import good_k, pareto_smoothed
from pyvae.diagnostics.codes import CodeUsage, code_usage
from pyvae.diagnostics.estimates import ELBOEstimate, Estimate, Evaluation
from pyvae.diagnostics.evaluation import elbo, evaluate, log_likelihood
from pyvae.diagnostics.imputation import impute
from pyvae.diagnostics.inference_data import to_inference_data
from pyvae.diagnostics.latent_means import posterior_means
from pyvae.diagnostics.log_weights import log_weights

if TYPE_CHECKING:
    from pyvae.diagnostics.comparison import Comparison, Difference, compare
    from pyvae.diagnostics.diagnosis import SECTIONS, Diagnosis, diagnose
    from pyvae.diagnostics.factor_scores import factor_vae_score, mutual_information, mutual_information_gap, sap
    from pyvae.diagnostics.probes import DCI, dci, linear_probe
    from pyvae.diagnostics.representation import Disentanglement, disentanglement

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

#: what needs pandas, SciPy, scikit-learn or Matplotlib: to import them takes as long as torch, so that is put off
_LATE = {
    "comparison": ("Comparison", "Difference", "compare"),
    "diagnosis": ("SECTIONS", "Diagnosis", "diagnose"),
    "factor_scores": ("factor_vae_score", "mutual_information", "mutual_information_gap", "sap"),
    "probes": ("DCI", "dci", "linear_probe"),
    "representation": ("Disentanglement", "disentanglement"),
}


def __getattr__(name: str) -> object:
    """Import what is put off, when it is asked for."""
    if name in (*_LATE, "sections"):
        return import_module(f"{__name__}.{name}")
    for module, names in _LATE.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
