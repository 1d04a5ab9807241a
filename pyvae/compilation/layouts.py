"""The layout in which convolutions are recorded.

Without it, a convolutional VAE trains at 0.81 of the speed on an AMD EPYC (benchmarks/README.md).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

__all__ = ["ChannelsLast"]

_CONVOLUTIONS = {functional.conv2d, functional.conv_transpose2d}


class ChannelsLast(TorchFunctionMode):
    """On CPUs, gives convolutions of images their factors with the channels last in memory.

    oneDNN computes them in that layout, and the compiler asks for it. Where a recording says otherwise, images are
    copied from one layout to the other and back between any two operations.
    """

    def __torch_function__(
        self, function: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict | None = None
    ) -> Any:
        if function in _CONVOLUTIONS:
            args = [*map(_channels_last, args[:2]), *args[2:]]
        return function(*args, **(kwargs or {}))


def _channels_last(value: Any) -> Any:
    if not isinstance(value, Tensor) or value.dim() != 4 or value.device.type != "cpu":
        return value
    return value.contiguous(memory_format=torch.channels_last)
