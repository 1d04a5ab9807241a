"""Guides: x (and context) to a distribution of z; quantizers: vectors to codes."""

from pyvae.guides.diagonal_normal import DiagonalNormal
from pyvae.guides.finite_scalar import FiniteScalarQuantizer
from pyvae.guides.flows import ConditionalSplineFlow, InverseAutoregressiveFlow
from pyvae.guides.full_rank_normal import FullRankNormal
from pyvae.guides.guide import Guide
from pyvae.guides.level_guide import LevelGuide
from pyvae.guides.low_rank_normal import LowRankNormal
from pyvae.guides.power_spherical import PowerSpherical
from pyvae.guides.precision_weighted import PrecisionWeighted
from pyvae.guides.quantizer import Quantized, Quantizer
from pyvae.guides.residual import ResidualQuantizer
from pyvae.guides.semi_amortized import SemiAmortized
from pyvae.guides.softmax import SoftmaxQuantizer
from pyvae.guides.top_down_normal import TopDownNormal
from pyvae.guides.vector_quantizer import VectorQuantizer

__all__ = [
    "ConditionalSplineFlow",
    "DiagonalNormal",
    "FiniteScalarQuantizer",
    "FullRankNormal",
    "Guide",
    "InverseAutoregressiveFlow",
    "LevelGuide",
    "LowRankNormal",
    "PowerSpherical",
    "PrecisionWeighted",
    "Quantized",
    "Quantizer",
    "ResidualQuantizer",
    "SemiAmortized",
    "SoftmaxQuantizer",
    "TopDownNormal",
    "VectorQuantizer",
]
