"""The pairs: families of variational auto-encoders, each a model and a guide that plug components together."""

from pyvae.models.counts import CountVAE
from pyvae.models.denoising import denoise
from pyvae.models.diffusion import DiffusionVAE
from pyvae.models.markov import LadderVAE, MarkovVAE
from pyvae.models.semi_supervised import SemiSupervisedVAE
from pyvae.models.single_step import SingleStep
from pyvae.models.vae import VAE
from pyvae.models.vector_quantized import VQVAE, CodePrior
from pyvae.models.vector_quantized_2 import VQVAE2

__all__ = [
    "VAE",
    "VQVAE",
    "VQVAE2",
    "CodePrior",
    "CountVAE",
    "DiffusionVAE",
    "LadderVAE",
    "MarkovVAE",
    "SemiSupervisedVAE",
    "SingleStep",
    "denoise",
]
