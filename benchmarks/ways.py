"""The ways to train, by name. Each lives in a module of its own, which is imported only when it is asked for."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Protocol

import torch
from torch import Tensor

from benchmarks.workloads import Workload

__all__ = ["ALTERNATIVES", "NAMES", "NotApplicable", "Way", "load", "shuffled"]

LEARNING_RATE = 1e-3
NAMES = {
    "eager": ("benchmarks.ways_torch", "Eager"),
    "compiled": ("benchmarks.ways_torch", "Compiled"),
    "svi": ("benchmarks.ways_pyro", "StockSVI"),
    "pyvae": ("benchmarks.ways_pyvae", "Epochs"),
    "pyvae_eager": ("benchmarks.ways_pyvae", "EagerEpochs"),
    "fit": ("benchmarks.ways_pyvae", "Fit"),
    "numpyro": ("benchmarks.ways_numpyro", "NumPyroSVI"),
    "pythae": ("benchmarks.ways_pythae", "PythaeTrainer"),
}
ALTERNATIVES = {
    "torch_products": ("benchmarks.ways_alternatives", "TorchProducts"),
    "torch_layouts": ("benchmarks.ways_alternatives", "TorchLayouts"),
    "torch_adam": ("benchmarks.ways_alternatives", "TorchAdam"),
    "compiled_adam": ("benchmarks.ways_alternatives", "CompiledAdam"),
}


class NotApplicable(Exception):
    """The way cannot be tried here: a package is not installed, or it has no such model."""


class Way(Protocol):
    """A model in training."""

    def epoch(self) -> float:
        """Train for one pass over the data; the mean loss per datapoint over the batches of it."""
        ...


def load(name: str) -> Callable[[Workload, Tensor, int, int], Way]:
    """The way of this name, imported; call it with a workload, data, a batch size and a seed.

    Raises:
        NotApplicable: if it needs a package that is not installed. (Called, it raises that if it has no such model.)
    """
    module, attribute = {**NAMES, **ALTERNATIVES}[name]
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("benchmarks", "pyvae"):
            raise  # a mistake here, not a peer that is missing
        raise NotApplicable(f"{name} is not installed: {error}") from error


def shuffled(data: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """One pass over the data in random order, as a hand-written loop has it."""
    for rows in torch.randperm(len(data), generator=generator).split(batch_size):
        yield data[rows]
