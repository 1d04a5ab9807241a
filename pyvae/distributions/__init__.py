"""Distributions that Pyro lacks."""

from pyvae.distributions.bernoulli import Bernoulli

__all__ = ["Bernoulli"]
