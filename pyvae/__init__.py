"""pyvae: variational auto-encoders as Pyro model/guide pairs."""

from typing import TYPE_CHECKING

from pyvae import (
    compilation,
    datasets,
    diagnostics,
    distributions,
    guides,
    likelihoods,
    models,
    networks,
    objectives,
    priors,
    quantizers,
    recipes,
)
from pyvae.checkpoint import save
from pyvae.compilation import compile
from pyvae.errors import (
    ArgumentError,
    CheckpointError,
    DataError,
    NonFiniteError,
    PairError,
    PyvaeError,
    RunError,
    TraceError,
)
from pyvae.evaluation import (
    code_usage,
    elbo,
    evaluate,
    impute,
    log_likelihood,
    log_weights,
)
from pyvae.inference_data import to_inference_data
from pyvae.latent_space import encoded, interpolate, traverse
from pyvae.models import (
    VAE,
    VQVAE,
    VQVAE2,
    CodePrior,
    DiffusionVAE,
    LadderVAE,
    MarkovVAE,
    SemiSupervisedVAE,
    SingleStep,
)
from pyvae.recipes.loading import load
from pyvae.training import FitResult, fit

if TYPE_CHECKING:
    from pyvae.diagnostics import compare, diagnose

__all__ = [
    "VAE",
    "VQVAE",
    "VQVAE2",
    "ArgumentError",
    "CheckpointError",
    "CodePrior",
    "DataError",
    "DiffusionVAE",
    "FitResult",
    "LadderVAE",
    "MarkovVAE",
    "NonFiniteError",
    "PairError",
    "PyvaeError",
    "RunError",
    "SemiSupervisedVAE",
    "SingleStep",
    "TraceError",
    "code_usage",
    "compare",
    "compilation",
    "compile",
    "datasets",
    "diagnose",
    "diagnostics",
    "distributions",
    "elbo",
    "encoded",
    "evaluate",
    "fit",
    "guides",
    "impute",
    "interpolate",
    "likelihoods",
    "load",
    "log_likelihood",
    "log_weights",
    "models",
    "networks",
    "objectives",
    "priors",
    "quantizers",
    "recipes",
    "save",
    "to_inference_data",
    "traverse",
]


def __getattr__(name: str) -> object:
    """Import slow modules when they are first used."""
    if name in ("compare", "diagnose"):
        return getattr(diagnostics, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
