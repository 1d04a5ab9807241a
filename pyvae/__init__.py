"""pyvae: variational auto-encoders as Pyro model/guide pairs."""

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
    recipes,
)
from pyvae.checkpoint import save
from pyvae.compilation import compile
from pyvae.diagnostics import code_usage, elbo, evaluate, impute, log_likelihood, log_weights
from pyvae.encoding import encoded
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
from pyvae.fit import FitResult, fit
from pyvae.loading import load
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
    "compilation",
    "compile",
    "datasets",
    "diagnostics",
    "distributions",
    "elbo",
    "encoded",
    "evaluate",
    "fit",
    "guides",
    "impute",
    "likelihoods",
    "load",
    "log_likelihood",
    "log_weights",
    "models",
    "networks",
    "objectives",
    "priors",
    "recipes",
    "save",
]
