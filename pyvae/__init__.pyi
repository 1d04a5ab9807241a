"""The public names, which ``__init__.py`` imports when they are first used."""

from . import (
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
from .checkpoint import save
from .compilation import compile
from .diagnostics import compare, diagnose
from .errors import (
    ArgumentError,
    CheckpointError,
    DataError,
    NonFiniteError,
    PairError,
    PyvaeError,
    RunError,
    TraceError,
)
from .evaluation import (
    code_usage,
    elbo,
    evaluate,
    impute,
    log_likelihood,
    log_weights,
)
from .inference_data import to_inference_data
from .latent_space import encoded, interpolate, traverse
from .models import (
    VAE,
    VQVAE,
    VQVAE2,
    CodePrior,
    CountVAE,
    DiffusionVAE,
    LadderVAE,
    MarkovVAE,
    SemiSupervisedVAE,
    SingleStep,
)
from .recipes.loading import load
from .training import FitResult, fit

__all__ = [
    "VAE",
    "VQVAE",
    "VQVAE2",
    "ArgumentError",
    "CheckpointError",
    "CodePrior",
    "CountVAE",
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
