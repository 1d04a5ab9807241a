"""Datasets: functions that give data in memory."""

from pyvae.datasets.arrays import arrays
from pyvae.datasets.data import InMemory, LabelledData
from pyvae.datasets.digits import digits
from pyvae.datasets.preprocessing import (
    dequantization,
    dynamic_binarization,
    no_preprocessing,
    standardization,
    static_binarization,
)
from pyvae.datasets.vision import cifar10, fashion_mnist, image_folder, kmnist, mnist

__all__ = [
    "InMemory",
    "LabelledData",
    "arrays",
    "cifar10",
    "dequantization",
    "digits",
    "dynamic_binarization",
    "fashion_mnist",
    "image_folder",
    "kmnist",
    "mnist",
    "no_preprocessing",
    "standardization",
    "static_binarization",
]
