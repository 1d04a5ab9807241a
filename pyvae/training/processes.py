"""The processes that train one pair together: one, unless torchrun or a cluster started more."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from pyvae.errors import PyvaeError, RunError, first_lines

__all__ = ["Processes", "processes_on"]

T = TypeVar("T")


class Processes:
    """What the processes of a job do together. Alone, a process does nothing here.

    Attributes:
        rank: the number of this process, from 0.
        count: how many there are.
    """

    rank = 0
    count = 1

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors, in place, by their sums over the processes; all processes must call it with the same."""

    def by_first(self, function: Callable[[], T]) -> T:
        """What ``function`` returns, or raises, in the first process, which alone calls it."""
        return function()


class _Several(Processes):
    """Processes that talk through Lightning Fabric: NCCL between GPUs, gloo between CPUs."""

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.rank, self.count = fabric.global_rank, fabric.world_size

    def add(self, tensors: Sequence[Tensor]) -> None:
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for kind in by_type.values():  # one message for all of them
            flat = torch.cat([t.detach().reshape(-1) for t in kind]).to(self._fabric.device)
            flat = flat if flat.is_floating_point() or flat.is_complex() else flat.long()  # gloo knows few integers
            flat = self._together(lambda flat=flat: self._fabric.all_reduce(flat, reduce_op="sum"))
            for tensor, part in zip(kind, flat.split([t.numel() for t in kind]), strict=True):
                tensor.detach().copy_(part.view_as(tensor))

    def by_first(self, function: Callable[[], T]) -> T:
        outcome: tuple[Any, Exception | None] = (None, None)
        if self.rank == 0:
            try:
                outcome = (function(), None)
            except PyvaeError as error:  # the others would wait for ever
                outcome = (None, error)
        result, error = self._together(lambda: self._fabric.broadcast(outcome))
        if error is not None:
            raise error
        return result

    def _together(self, exchange: Callable[[], T]) -> T:
        try:
            return exchange()
        except RuntimeError as error:
            raise RunError(
                f"process {self.rank} of {self.count} has lost the others: one of them ended or was killed (its own "
                "message says why). The last checkpoint is whole; start the job again with resume "
                f"({first_lines(error)})"
            ) from error


def processes_on(device: torch.device) -> Processes:
    """The processes of this job, for pairs on this kind of device.

    Raises:
        RunError: if there are several and lightning-fabric is not installed.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    return Processes() if size == 1 else _several(device.type, size)


@functools.cache
def _several(device: str, size: int) -> Processes:
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import TorchElasticEnvironment
        from lightning_fabric.strategies import DDPStrategy
    except ImportError as error:
        raise RunError("several processes need lightning-fabric: pip install 'pyro-vae[distributed]'") from error
    local = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    backend = "nccl" if device == "cuda" else "gloo"
    strategy = DDPStrategy(process_group_backend=backend)
    job = TorchElasticEnvironment()  # also inside of a cluster's job, whose own variables number other things
    fabric = Fabric(accelerator=device, strategy=strategy, devices=local, num_nodes=size // local, plugins=[job])
    fabric.launch()
    return _Several(fabric)
