"""Datasets: functions that return data, in memory or on disk."""

from pyvae.datasets.arrays import arrays
from pyvae.datasets.audio import audio_folder, audio_rate, read_audio, spoken_digits
from pyvae.datasets.cells import cells, expression_of_cells
from pyvae.datasets.data import DataSplits, InMemory
from pyvae.datasets.digits import digits, digits_with_gaps
from pyvae.datasets.factors import Factors
from pyvae.datasets.kinds import Kind, Values, values_of
from pyvae.datasets.labels import keep_labels
from pyvae.datasets.memory_mapped import MemoryMapped, memory_mapped
from pyvae.datasets.preprocessing import (
    dequantization,
    dynamic_binarization,
    no_preprocessing,
    standardization,
    static_binarization,
)
from pyvae.datasets.sprites import Sprites, sprites
from pyvae.datasets.units import Units
from pyvae.datasets.vision import cifar10, fashion_mnist, image_folder, kmnist, mnist, read_picture

__all__ = [
    "DataSplits",
    "Factors",
    "InMemory",
    "Kind",
    "MemoryMapped",
    "Sprites",
    "Units",
    "Values",
    "arrays",
    "audio_folder",
    "audio_rate",
    "cells",
    "cifar10",
    "dequantization",
    "digits",
    "digits_with_gaps",
    "dynamic_binarization",
    "expression_of_cells",
    "fashion_mnist",
    "image_folder",
    "keep_labels",
    "kmnist",
    "memory_mapped",
    "mnist",
    "no_preprocessing",
    "read_audio",
    "read_picture",
    "spoken_digits",
    "sprites",
    "standardization",
    "static_binarization",
    "values_of",
]
