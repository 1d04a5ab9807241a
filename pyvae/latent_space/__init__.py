"""Latent space: the meaning of a pair's latents."""

from pyvae.latent_space.encoding import encoded
from pyvae.latent_space.posterior_means import posterior_means
from pyvae.latent_space.traversals import interpolate, traverse

__all__ = ["encoded", "interpolate", "posterior_means", "traverse"]
