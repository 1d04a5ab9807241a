"""Training with pyvae where a part of its compiled step is torch's instead of ours: what keeps each part in pyvae."""

from contextlib import AbstractContextManager, nullcontext
from unittest import mock

import torch
from torch import Tensor

from benchmarks.ways_pyvae import Epochs
from benchmarks.workloads import Workload

__all__ = ["CompiledAdam", "TorchAdam", "TorchLayouts", "TorchProducts"]


class _Patched(Epochs):
    """The epochs of a long run with something in pyvae replaced."""

    @classmethod
    def replaced(cls) -> AbstractContextManager:
        """A block in which it is."""
        raise NotImplementedError

    def __init__(self, workload: Workload, data: Tensor, batch_size: int, seed: int) -> None:
        with self.replaced():
            super().__init__(workload, data, batch_size, seed)

    def epoch(self) -> float:
        """One pass over the data; the first of them records the step."""
        with self.replaced():
            return super().epoch()


class TorchProducts(_Patched):
    """Matrix products are those that the compiler chooses."""

    @classmethod
    def replaced(cls) -> AbstractContextManager:
        """A block without ``choose_products``."""
        return mock.patch("pyvae.compilation.program.choose_products")


class TorchLayouts(_Patched):
    """Convolutions are recorded in the layout that they have, and the compiler chooses."""

    @classmethod
    def replaced(cls) -> AbstractContextManager:
        """A block without ``ChannelsLast``."""
        return mock.patch("pyvae.compilation.tracing.ChannelsLast", nullcontext)


class TorchAdam(_Patched):
    """The graph gives gradients, and torch's fused Adam makes the step."""

    @classmethod
    def replaced(cls) -> AbstractContextManager:
        """A block in which Adam is not recorded."""
        return mock.patch("pyvae.training.compiled_step.RecordableAdam.supports", return_value=False)


class CompiledAdam(TorchAdam):
    """The graph gives gradients, and Adam's step under ``torch.compile`` follows."""

    def __init__(self, workload: Workload, data: Tensor, batch_size: int, seed: int) -> None:
        super().__init__(workload, data, batch_size, seed)
        optimizer = self._trainer.eager.update.optimizer
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = False, True  # the compiler takes no fused kernels
        optimizer.step = torch.compile(optimizer.step)
