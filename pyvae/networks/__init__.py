"""Networks: tensor to tensor, nothing probabilistic. They act on the last dimensions and accept any leading ones."""

from pyvae.networks.causal_transformer import CausalTransformer
from pyvae.networks.convolutional import ConvDecoder, ConvEncoder
from pyvae.networks.features import Features
from pyvae.networks.joined_maps import JoinedMaps
from pyvae.networks.leading_dims import AnyLeadingDims
from pyvae.networks.log_counts import LogCounts, LogTotal, WithoutTotal
from pyvae.networks.mlp import MLP
from pyvae.networks.noise_schedules import CosineNoise, LearnedNoise, LinearNoise
from pyvae.networks.observed_only import ObservedOnly
from pyvae.networks.one_hot import OneHot
from pyvae.networks.pixel_cnn import PixelCNN
from pyvae.networks.spectral_distance import SpectralDistance
from pyvae.networks.strided import StridedDecoder, StridedEncoder
from pyvae.networks.time_embedding import TimeEmbedding
from pyvae.networks.time_mlp import TimeMLP
from pyvae.networks.unet import UNet

__all__ = [
    "MLP",
    "AnyLeadingDims",
    "CausalTransformer",
    "ConvDecoder",
    "ConvEncoder",
    "CosineNoise",
    "Features",
    "JoinedMaps",
    "LearnedNoise",
    "LinearNoise",
    "LogCounts",
    "LogTotal",
    "ObservedOnly",
    "OneHot",
    "PixelCNN",
    "SpectralDistance",
    "StridedDecoder",
    "StridedEncoder",
    "TimeEmbedding",
    "TimeMLP",
    "UNet",
    "WithoutTotal",
]
