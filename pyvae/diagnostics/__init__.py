"""Diagnostics: can the posterior of a pair be trusted?

The figures of :mod:`pyvae.evaluation`, :mod:`pyvae.inference_data` and :mod:`pyvae.disentanglement` are here too.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from pyvae.evaluation import (
    Classification,
    CodeUsage,
    ELBOEstimate,
    Estimate,
    Evaluation,
    classification,
    code_usage,
    elbo,
    evaluate,
    good_k,
    impute,
    log_likelihood,
    log_weights,
    pareto_smoothed,
)
from pyvae.inference_data import to_inference_data
from pyvae.latent_space import posterior_means

if TYPE_CHECKING:
    from pyvae.diagnostics.diagnosis import SECTIONS, Diagnosis, diagnose
    from pyvae.disentanglement import (
        DCI,
        Disentanglement,
        dci,
        disentanglement,
        factor_vae_score,
        linear_probe,
        mutual_information,
        mutual_information_gap,
        sap,
    )
    from pyvae.evaluation.comparison import Comparison, Difference, compare

__all__ = [
    "DCI",
    "SECTIONS",
    "Classification",
    "CodeUsage",
    "Comparison",
    "Diagnosis",
    "Difference",
    "Disentanglement",
    "ELBOEstimate",
    "Estimate",
    "Evaluation",
    "classification",
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
    "pyvae.evaluation.comparison": ("Comparison", "Difference", "compare"),
    "pyvae.diagnostics.diagnosis": ("SECTIONS", "Diagnosis", "diagnose"),
    "pyvae.disentanglement": (
        *("DCI", "Disentanglement", "dci", "disentanglement", "factor_vae_score", "linear_probe"),
        *("mutual_information", "mutual_information_gap", "sap"),
    ),
}


def __getattr__(name: str) -> object:
    """Import slow modules when they are first used."""
    if name in ("diagnosis", "sections"):
        return import_module(f"{__name__}.{name}")
    for module, names in _LATE.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
