"""Likelihoods: z (and context) to a distribution of x."""

from pyvae.likelihoods.bernoulli import Bernoulli
from pyvae.likelihoods.heteroscedastic_normal import HeteroscedasticNormal
from pyvae.likelihoods.likelihood import Likelihood
from pyvae.likelihoods.normal import Normal

__all__ = ["Bernoulli", "HeteroscedasticNormal", "Likelihood", "Normal"]
