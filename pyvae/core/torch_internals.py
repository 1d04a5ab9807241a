"""Every private part of torch that pyvae uses: the one file to look at when a new version of torch has moved it.

A test keeps private names of torch out of all other files. ``tests/compilation/test_relied_on.py`` pins what is
relied on here; it holds for torch 2.8 to 2.15.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing, make_fx
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = [
    "MODULE_ATTRIBUTES",
    "FakeTensor",
    "OperationCounter",
    "compile_graph",
    "has_onednn_product",
    "has_step_hooks",
    "onednn_product",
    "pytree",
    "trace_graph",
]

#: attributes that every module has: its tensors, its parts and its hooks
MODULE_ATTRIBUTES = frozenset(vars(nn.Module())) - {"training"}


class OperationCounter(TorchDispatchMode):
    """Counts the operations of aten that run under it; after the first ``most`` they are run, but not recorded.

    It raises nothing. Torch asks a tensor for its metadata by operations too, from C++ code that an exception must not
    pass: in torch 2.14 the constructor of ``InputMetadata`` ends the process.

    Args:
        most: operations to record; None for any number.

    Attributes:
        count: operations so far.
    """

    def __init__(self, most: int | None) -> None:
        super().__init__()
        self.most, self.count = most, 0

    @property
    def exhausted(self) -> bool:
        """Whether there were more operations than are recorded."""
        return self.most is not None and self.count > self.most

    def __torch_dispatch__(
        self, operation: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict | None = None
    ) -> Any:
        self.count += 1
        if not self.exhausted:
            return operation(*args, **(kwargs or {}))
        with disable_proxy_modes_tracing():
            return operation(*args, **(kwargs or {}))


def trace_graph(function: Callable, *examples: Any) -> fx.GraphModule:
    """The operations of ``function(*examples)``, which is run once on tensors without content."""
    return make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*examples)


def compile_graph(graph: fx.GraphModule, examples: Sequence[Tensor]) -> Callable:
    """The graph as machine code, with the user's own settings of the compiler."""
    # aten's own random numbers: the stream of the eager run, and on CPUs the faster ones
    options = {"fallback_random": True}
    if torch._inductor.config.cpp.vec_isa_ok is None:
        # the processor is asked what it can do; trying that out on the compiler too takes six of fifteen seconds
        options["cpp.vec_isa_ok"] = True
    return torch._inductor.compile(graph, examples, options)


def has_step_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether this optimizer has step hooks."""
    own = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
    return any((*own, _global_optimizer_pre_hooks, _global_optimizer_post_hooks))


def has_onednn_product() -> bool:
    """Whether this build of torch has :func:`onednn_product`."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def onednn_product(a: Tensor, b: Tensor) -> Tensor:
    """The product of two matrices by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
