"""Priors: () or context to a distribution of z."""

from pyvae.priors.codes import AutoregressiveCodes, FactorizedCodes, LowerCodes
from pyvae.priors.conditional_normal import ConditionalNormal
from pyvae.priors.normal_mixture import NormalMixture
from pyvae.priors.prior import Prior
from pyvae.priors.standard_normal import StandardNormal

__all__ = [
    "AutoregressiveCodes",
    "ConditionalNormal",
    "FactorizedCodes",
    "LowerCodes",
    "NormalMixture",
    "Prior",
    "StandardNormal",
]
