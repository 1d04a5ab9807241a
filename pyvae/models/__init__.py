"""The pairs: families of variational auto-encoders, each a model and a guide that plug components together."""

from pyvae.models.markov import LadderVAE, MarkovVAE
from pyvae.models.vae import VAE

__all__ = ["VAE", "LadderVAE", "MarkovVAE"]
