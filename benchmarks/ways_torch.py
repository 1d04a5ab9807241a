"""Training by hand: the loop that one writes with torch alone."""

import torch
from torch import Tensor, nn

from benchmarks.ways import LEARNING_RATE, shuffled
from benchmarks.workloads import Workload

__all__ = ["Compiled", "Eager"]


class Eager:
    """The hand-written loss and torch.optim.Adam as it comes."""

    def __init__(self, workload: Workload, data: Tensor, batch_size: int, seed: int) -> None:
        self._data, self._batch_size = data, batch_size
        self._generator = torch.Generator().manual_seed(seed)
        module = workload.seeded(seed).by_hand
        self._optimizer = self._make_optimizer(module)
        self._loss = self._prepared(module)

    def _make_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)

    def _prepared(self, module: nn.Module) -> nn.Module:
        return module

    def epoch(self) -> float:
        """One pass over the data."""
        total = 0.0
        for x in shuffled(self._data, self._batch_size, self._generator):
            self._optimizer.zero_grad()
            loss = self._loss(x)
            loss.backward()
            self._optimizer.step()
            total += loss.item() * len(x)
        return total / len(self._data)


class Compiled(Eager):
    """The same loss under torch.compile, and Adam's fused kernel."""

    def _make_optimizer(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(module.parameters(), lr=LEARNING_RATE, fused=True)

    def _prepared(self, module: nn.Module) -> nn.Module:
        return torch.compile(module)
