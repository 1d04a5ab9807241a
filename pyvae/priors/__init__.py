"""Priors: () or context to a distribution of z."""

from pyvae.priors.codes import AutoregressiveCodes, FactorizedCodes, LowerCodes
from pyvae.priors.conditional_normal import ConditionalNormal
from pyvae.priors.conditional_normal_mixture import ConditionalNormalMixture
from pyvae.priors.flows import MaskedAutoregressiveFlow, NeuralSplineFlow, RealNVP
from pyvae.priors.hyperspherical_uniform import HypersphericalUniform
from pyvae.priors.normal_mixture import NormalMixture
from pyvae.priors.prior import Prior
from pyvae.priors.standard_normal import StandardNormal
from pyvae.priors.vamp import VampPrior

__all__ = [
    "AutoregressiveCodes",
    "ConditionalNormal",
    "ConditionalNormalMixture",
    "FactorizedCodes",
    "HypersphericalUniform",
    "LowerCodes",
    "MaskedAutoregressiveFlow",
    "NeuralSplineFlow",
    "NormalMixture",
    "Prior",
    "RealNVP",
    "StandardNormal",
    "VampPrior",
]
