"""Quantizers: vectors to codes, and back to vectors."""

from pyvae.quantizers.finite_scalar import FiniteScalarQuantizer
from pyvae.quantizers.quantizer import Quantized, Quantizer
from pyvae.quantizers.residual import ResidualQuantizer
from pyvae.quantizers.softmax import SoftmaxQuantizer
from pyvae.quantizers.vector_quantizer import VectorQuantizer

__all__ = [
    "FiniteScalarQuantizer",
    "Quantized",
    "Quantizer",
    "ResidualQuantizer",
    "SoftmaxQuantizer",
    "VectorQuantizer",
]
