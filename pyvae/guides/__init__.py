"""Guides: x (and context) to a distribution of z."""

from pyvae.guides.diagonal_normal import DiagonalNormal
from pyvae.guides.flows import ConditionalSplineFlow, InverseAutoregressiveFlow
from pyvae.guides.full_rank_normal import FullRankNormal
from pyvae.guides.guide import Guide
from pyvae.guides.level_guide import LevelGuide
from pyvae.guides.low_rank_normal import LowRankNormal
from pyvae.guides.power_spherical import PowerSpherical
from pyvae.guides.precision_weighted import PrecisionWeighted
from pyvae.guides.semi_amortized import SemiAmortized
from pyvae.guides.top_down_normal import TopDownNormal

# also known here by the names of pyvae.quantizers
from pyvae.quantizers import FiniteScalarQuantizer as FiniteScalarQuantizer
from pyvae.quantizers import Quantized as Quantized
from pyvae.quantizers import Quantizer as Quantizer
from pyvae.quantizers import ResidualQuantizer as ResidualQuantizer
from pyvae.quantizers import SoftmaxQuantizer as SoftmaxQuantizer
from pyvae.quantizers import VectorQuantizer as VectorQuantizer

__all__ = [
    "ConditionalSplineFlow",
    "DiagonalNormal",
    "FullRankNormal",
    "Guide",
    "InverseAutoregressiveFlow",
    "LevelGuide",
    "LowRankNormal",
    "PowerSpherical",
    "PrecisionWeighted",
    "SemiAmortized",
    "TopDownNormal",
]
