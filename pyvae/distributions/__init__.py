"""Distributions that Pyro lacks."""

from pyvae.distributions.autoregressive import Autoregressive
from pyvae.distributions.bernoulli import Bernoulli
from pyvae.distributions.discretized_normal import DiscretizedNormal
from pyvae.distributions.stratified_steps import StratifiedSteps
from pyvae.distributions.weighted import Weighted

__all__ = ["Autoregressive", "Bernoulli", "DiscretizedNormal", "StratifiedSteps", "Weighted"]
