"""Names for the dimensions of a pair's sites, and labelled arrays with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyvae.errors import ArgumentError, PairError

if TYPE_CHECKING:
    import xarray

__all__ = ["DimensionNames"]

_SAMPLES = ("chain", "draw")
_DATA = "obs_id"


@dataclass(frozen=True)
class DimensionNames:
    """The names and coordinates of the dimensions behind ``chain``, ``draw`` and ``obs_id``.

    Attributes:
        plates: of each site, the names of the plates it is in, but for that of the data.
        dims: names for the further dimensions of variables; by default z_dim_0, z_dim_1, …
        coords: coordinates by dimension; by default 0, 1, …
        size: the number N of datapoints, if it is known.
        attributes: those of every group.
    """

    plates: Mapping[str, tuple[str, ...]]
    dims: Mapping[str, Sequence[str]]
    coords: Mapping[str, Sequence[Any]]
    size: int | None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def draws(self, values: Mapping[str, Tensor], **attributes: Any) -> "xarray.Dataset":
        """Values (S, N, …) as (chain, draw, obs_id, …), of one chain."""
        return self._dataset({n: (v[None], (*_SAMPLES, _DATA)) for n, v in values.items()}, attributes)

    def rows(self, values: Mapping[str, Tensor], **attributes: Any) -> "xarray.Dataset":
        """Values (N, …) as (obs_id, …)."""
        return self._dataset({n: (v, (_DATA,)) for n, v in values.items()}, attributes)

    def _dataset(self, values: dict[str, tuple[Tensor, tuple[str, ...]]], attributes: dict[str, Any]) -> Any:
        from xarray import Dataset  # takes half a second, which not everyone needs

        arrays, sizes = {}, {}
        for name, (value, leading) in values.items():
            dims = (*leading, *self._named(name, value.dim() - len(leading)))
            if len(set(dims)) < len(dims):
                raise ArgumentError(f"the dimensions of {name!r} are {dims}; expected each once: name them otherwise")
            for dim, size in zip(dims, value.shape, strict=True):
                if sizes.setdefault(dim, size) != size:
                    raise ArgumentError(f"dimension {dim!r} has {size} entries in {name!r} and {sizes[dim]} in others")
            arrays[name] = (dims, _as_array(value))
        self._check_names(arrays, sizes)
        coords = {dim: self._coordinate(dim, size) for dim, size in sizes.items()}
        return Dataset(arrays, coords, {**self.attributes, **attributes})

    def _named(self, name: str, count: int) -> tuple[str, ...]:
        """The names of a variable's further dimensions, of which there are ``count``."""
        plates = self.plates.get(name, ())
        given = self.dims.get(name)
        if given is None:
            return (*plates, *(f"{name}_dim_{i}" for i in range(count - len(plates))))
        if isinstance(given, str) or len(given) != count - len(plates) or not all(isinstance(d, str) for d in given):
            raise ArgumentError(
                f"dims[{name!r}] is {given!r}; expected {count - len(plates)} names, one for each dimension of an event"
            )
        return (*plates, *given)

    def _check_names(self, names: Mapping[str, Any], dims: Mapping[str, int]) -> None:
        for name in names:
            if name in dims or "/" in name:
                why = "a dimension of that name" if name in dims else "no file format for names with a slash"
                raise PairError(f"site {name!r} cannot be converted: there is {why}; give the site another name")

    def _coordinate(self, dim: str, size: int) -> np.ndarray:
        given = self.coords.get(dim)
        if given is None:
            return np.arange(size)
        given = _as_array(given) if isinstance(given, Tensor) else np.asarray(given)
        expected = (self.size or len(given)) if dim == _DATA else size
        if given.shape != (expected,):
            raise ArgumentError(f"coords[{dim!r}] has shape {given.shape}; expected {expected} entries")
        return given[:size]


def _as_array(value: Tensor) -> np.ndarray:
    value = value.detach().cpu()
    return (value.float() if value.dtype is torch.bfloat16 else value).numpy()
