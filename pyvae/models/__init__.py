"""The pairs: families of variational auto-encoders, each a model and a guide that plug components together."""

from pyvae.models.denoising import denoise
from pyvae.models.diffusion import DiffusionVAE
from pyvae.models.markov import LadderVAE, MarkovVAE
from pyvae.models.single_step import SingleStep
from pyvae.models.vae import VAE
from pyvae.models.vector_quantized import VQVAE, CodePrior

__all__ = ["VAE", "VQVAE", "CodePrior", "DiffusionVAE", "LadderVAE", "MarkovVAE", "SingleStep", "denoise"]
