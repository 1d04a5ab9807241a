"""Training with pyvae. The one file here that knows how pyvae trains inside."""

import warnings
from contextlib import suppress
from typing import Any
from unittest import mock

from torch import Tensor, nn

import pyvae
from benchmarks.workloads import Workload
from pyvae.core.modules import isolated_param_store
from pyvae.core.random_streams import derive_seed, isolated_rng
from pyvae.training.loop import Trainer

__all__ = ["EagerEpochs", "Epochs", "Fit"]

_MANY = 10**6  # epochs of a run that is long enough for all that pyvae.fit does in long runs alone


class _Reached(Exception):
    """The first epoch of pyvae.fit."""


def _prepared(pair: nn.Module, data: Tensor, **settings: Any) -> tuple[Trainer, tuple[Any, ...]]:
    """The trainer that pyvae.fit makes, and what it calls its first epoch with; fit is left just before that."""
    found: list[tuple[Trainer, tuple[Any, ...]]] = []

    def leave(trainer: Trainer, *arguments: Any) -> None:
        found.append((trainer, arguments))
        raise _Reached

    with mock.patch.object(Trainer, "epoch", leave), suppress(_Reached):
        pyvae.fit(pair, data, epochs=_MANY, progress=False, **settings)
    return found[0]


class Epochs:
    """The epochs of a long run of pyvae.fit, without its checks at the start.

    Objective, optimizer and metrics are the defaults; the step is compiled, as it is by default in long runs.
    """

    compiled: bool | None = None

    def __init__(self, workload: Workload, data: Tensor, batch_size: int, seed: int) -> None:
        self._seed, self._number = seed, 0
        pair = workload.seeded(seed).pair
        self._trainer, arguments = _prepared(pair, data, batch_size=batch_size, seed=seed, compile=self.compiled)
        self._batches, _, _, self._progress = arguments

    def epoch(self) -> float:
        """One pass over the data, seeded and isolated as pyvae.fit does it."""
        self._number += 1
        seed = derive_seed(self._seed, self._number)
        with isolated_param_store(), isolated_rng(seed), warnings.catch_warnings():
            # a pair that cannot be compiled must show in the report, not be measured as if it had been
            warnings.filterwarnings("error", message=".*without compilation")
            row = self._trainer.epoch(self._batches, derive_seed(seed, 1), self._number, self._progress)
        return row["train_loss"]


class EagerEpochs(Epochs):
    """The same with compile=False."""

    compiled = False


class Fit:
    """Calls of pyvae.fit for one epoch each, with all its checks at the start and a new optimizer."""

    def __init__(self, workload: Workload, data: Tensor, batch_size: int, seed: int) -> None:
        self._data, self._batch_size, self._seed = data, batch_size, seed
        self._pair = workload.seeded(seed).pair

    def epoch(self) -> float:
        """One call."""
        self._seed += 1
        result = pyvae.fit(
            self._pair, self._data, epochs=1, batch_size=self._batch_size, seed=self._seed, progress=False
        )
        return result.history[-1]["train_loss"]
