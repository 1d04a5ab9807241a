"""Distributions that Pyro lacks."""

from pyvae.distributions.autoregressive import Autoregressive
from pyvae.distributions.bernoulli import Bernoulli
from pyvae.distributions.categorical_levels import CategoricalLevels
from pyvae.distributions.continuous_bernoulli import ContinuousBernoulli
from pyvae.distributions.discretized_logistic_mixture import DiscretizedLogisticMixture
from pyvae.distributions.discretized_normal import DiscretizedNormal
from pyvae.distributions.flow import Flow
from pyvae.distributions.hyperspherical_uniform import HypersphericalUniform
from pyvae.distributions.multivariate_normal import LowRankMultivariateNormal, MultivariateNormal
from pyvae.distributions.partially_observed import PartiallyObserved
from pyvae.distributions.power_spherical import PowerSpherical
from pyvae.distributions.stratified_steps import StratifiedSteps
from pyvae.distributions.weighted import Weighted
from pyvae.distributions.zero_inflated import ZeroInflated

__all__ = [
    "Autoregressive",
    "Bernoulli",
    "CategoricalLevels",
    "ContinuousBernoulli",
    "DiscretizedLogisticMixture",
    "DiscretizedNormal",
    "Flow",
    "HypersphericalUniform",
    "LowRankMultivariateNormal",
    "MultivariateNormal",
    "PartiallyObserved",
    "PowerSpherical",
    "StratifiedSteps",
    "Weighted",
    "ZeroInflated",
]
