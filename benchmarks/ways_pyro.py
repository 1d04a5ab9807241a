"""Training with Pyro as it comes."""

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor

from benchmarks.ways import LEARNING_RATE, shuffled
from benchmarks.workloads import Workload

__all__ = ["StockSVI"]


class StockSVI:
    """SVI with Trace_ELBO and pyro.optim.Adam, on a pair written without pyvae."""

    def __init__(self, workload: Workload, data: Tensor, batch_size: int, seed: int) -> None:
        self._data, self._batch_size = data, batch_size
        self._generator = torch.Generator().manual_seed(seed)
        pair = workload.seeded(seed).plain
        self._svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": LEARNING_RATE}), Trace_ELBO())
        self._store = {"params": {}, "constraints": {}}

    def epoch(self) -> float:
        """One pass over the data, in a param store of its own: other ways use the same names."""
        total = 0.0
        with pyro.get_param_store().scope(self._store):
            for x in shuffled(self._data, self._batch_size, self._generator):
                total += self._svi.step(x)
        return total / len(self._data)
