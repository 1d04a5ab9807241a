"""The memory that a run of a pair takes."""

from torch import Tensor, nn

__all__ = ["OutputMeter"]


class OutputMeter:
    """Counts the bytes that the submodules of a pair put out, as a measure of what a run takes."""

    def __init__(self, pair: nn.Module) -> None:
        self.bytes = 0
        self._modules = list(pair.modules()) if isinstance(pair, nn.Module) else []

    def __enter__(self) -> "OutputMeter":
        self._handles = [m.register_forward_hook(self._count) for m in self._modules]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _count(self, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            self.bytes += output.numel() * output.element_size()
