"""Preprocessing of x for a VAE: each function takes data and returns data, with a record of itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pyvae.datasets.data import DataSplits, InMemory
from pyvae.datasets.units import Units
from pyvae.errors import DataError

__all__ = ["dequantization", "dynamic_binarization", "no_preprocessing", "standardization", "static_binarization"]

_EXPONENT = 60  # of 2; float32 squares numbers up to 2^63
_MOMENTS = ("mean", "scale")
_BINARY = Units(data="x binarized, not of its intensities")


def no_preprocessing(data: DataSplits) -> DataSplits:
    """The data as the dataset gives them: images in [0, 1], arrays as they are."""
    return data


def dynamic_binarization(data: DataSplits) -> DataSplits:
    """Dynamic binarization: x_i ~ Bernoulli(intensity_i), drawn anew each time a row is taken (Burda et al., 2016).

    Raises:
        DataError: if x is not in [0, 1], or holds NaN.
    """
    _require_intensities(data)
    return data.transformed(torch.bernoulli, result_levels=2, units=_BINARY, name="dynamic_binarization")


def static_binarization(data: DataSplits, seed: int = 0) -> DataSplits:
    """Static binarization: x_i ~ Bernoulli(intensity_i), drawn once (Salakhutdinov and Murray, 2008).

    Raises:
        DataError: if x is not in [0, 1], or holds NaN.
    """
    _require_intensities(data)
    generator = torch.Generator().manual_seed(seed)

    def drawn(split: InMemory) -> InMemory:
        parts = split.tensors[0].split(4096)
        binary = torch.cat([torch.bernoulli(split.transform(x), generator=generator).bool() for x in parts])
        return InMemory(binary, *split.tensors[1:], transform=Tensor.float, factors=split.factors, units=_BINARY)

    preprocessing = (*data.preprocessing, {"name": "static_binarization", "seed": seed})
    return replace(data, train=drawn(data.train), test=drawn(data.test), levels=2, preprocessing=preprocessing)


def dequantization(data: DataSplits) -> DataSplits:
    r"""Uniform dequantization of grey levels, which gives discrete data a density.

    .. math:: x = (k + u) / K, \qquad u \sim U(0, 1)

    u is drawn each time a row is taken, for grey level k of K.

    The mean log density of the dequantized data bounds log P(k) − log K per element from below (Theis et al., 2016,
    equation 3, after the change of units).

    Raises:
        DataError: if the data have no levels: if they, or what was made of them before, are continuous.
    """
    levels = data.levels
    if not levels:
        after = (
            f" after {', '.join(str(record['name']) for record in data.preprocessing)}" if data.preprocessing else ""
        )
        raise DataError(
            f"{data.name} is continuous{after}: it has no levels to dequantize; if it had some, dequantize first, else "
            "use standardization or none"
        )

    def dequantize(x: Tensor) -> Tensor:
        return ((levels - 1) * x + torch.rand_like(x)) / levels

    units = data.train.units.rescaled(torch.tensor(float(levels)).log(), f"the {levels} levels of x, from above")
    return data.transformed(dequantize, result_levels=None, units=units, name="dequantization", levels=levels)


def standardization(data: DataSplits) -> DataSplits:
    r"""Standardization by the training data's mean and standard deviation, per image channel or vector column.

    .. math:: x \mapsto (x - m) / s

    Columns that never change keep s = 1.

    Raises:
        DataError: if a standard deviation is too large or too small for the numbers of the data.
    """
    train = torch.cat([data.train.transform(x) for x in data.train.tensors[0].split(4096)])
    dims = (0, *range(2, train.dim())) if train.dim() > 2 else (0,)
    mean, scale = _moments(train, dims)
    _check_units(data.name, train, dims, scale)
    scale = torch.where(scale > 0, scale, 1.0)
    record = {"mean": mean.flatten().tolist(), "scale": scale.flatten().tolist()}
    units = data.train.units.rescaled(scale.log(), "x in the units that it had before it was standardized")
    return data.transformed(
        lambda x: (x - mean) / scale, result_levels=None, units=units, name="standardization", **record
    )


def _check_units(name: str, train: Tensor, dims: tuple[int, ...], scale: Tensor) -> None:
    """Refuse data whose squares overflow or vanish; only a deviation that looks so is computed again in float64."""
    if bool((scale.log2().abs() < _EXPONENT - 1).all()):
        return
    _, exact = _moments(train.double(), dims)
    odd = exact[(exact.log2().abs() > _EXPONENT) & (exact > 0)].tolist()
    if odd:
        raise DataError(
            f"{name}: a standard deviation is {odd[0]:.3g}, with which {str(train.dtype).removeprefix('torch.')} "
            "cannot compute; give the data in other units"
        )


def _moments(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of what is not missing."""
    count = (~x.isnan()).sum(dims, keepdim=True)
    mean = x.nansum(dims, keepdim=True) / count.clamp(min=1)
    variance = (x - mean).square().nansum(dims, keepdim=True) / (count - 1).clamp(min=1)
    return mean[0], variance.sqrt()[0]


def as_recorded(x: Tensor, preprocessing: Sequence[Mapping[str, object]]) -> Tensor:
    """New data, as the dataset functions give them, after the preprocessing that a run records.

    Raises:
        DataError: if one is not known here, or binarization meets other than intensities.
    """
    for record in preprocessing:
        if record["name"] == "standardization":
            mean, scale = (torch.tensor(record[n], dtype=x.dtype).reshape(-1, *[1] * (x.dim() - 2)) for n in _MOMENTS)
            x = (x - mean) / scale
        elif record["name"] == "dequantization":
            x = ((record["levels"] - 1) * x + torch.rand_like(x)) / record["levels"]
        elif record["name"].endswith("binarization"):
            _check_intensities("the file of data", x)
            x = torch.bernoulli(x)
        elif record["name"] != "recording":
            raise DataError(f"cannot repeat the preprocessing {record['name']!r}; expected one of this module's")
    return x


def original_units(x: Tensor, preprocessing: Sequence[Mapping[str, object]]) -> Tensor:
    """The data before a standardization that ``preprocessing`` records; all else has no inverse and stays as it is."""
    for record in reversed(preprocessing):
        if record["name"] == "standardization":
            mean, scale = (torch.tensor(record[n], dtype=x.dtype, device=x.device) for n in _MOMENTS)
            per_channel = (-1, *[1] * (x.dim() - 2))
            x = x * scale.reshape(per_channel) + mean.reshape(per_channel)
    return x


def _require_intensities(data: DataSplits) -> None:
    for split in (data.train, data.test):
        bounds = [split.transform(bound) for bound in split.tensors[0].aminmax()]
        _check_intensities(data.name, torch.stack(bounds))


def _check_intensities(name: str, x: Tensor) -> None:
    """Refuse what is no intensity.

    Raises:
        DataError: if values are not in [0, 1], which NaN is not either.
    """
    low, high = x.aminmax() if x.numel() else (x.new_zeros(()), x.new_zeros(()))
    if not (low.isfinite() and high.isfinite()):
        raise DataError(
            f"{name} holds NaN or infinity; binarization needs intensities in [0, 1]: clean the data, or, where values "
            "are missing of data that are binary already, do not binarize them"
        )
    if low < 0 or high > 1:
        raise DataError(
            f"{name} holds values in [{float(low):g}, {float(high):g}]; binarization needs intensities in [0, 1]"
        )
