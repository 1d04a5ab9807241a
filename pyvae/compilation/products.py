"""The faster of two matrix products: PyTorch's own, which on most CPUs is MKL's, or that of oneDNN.

Both are float32 throughout. MKL keeps its best kernels for Intel's CPUs; elsewhere oneDNN can be twice as fast, but
costs more per call, so that it loses on small products. Hence every product of a graph is measured, once per process.
The compiler's own choice gives 0.85 of the speed on a convolutional VAE on an AMD EPYC (benchmarks/README.md).
"""

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, fx

from pyvae.core.torch_internals import has_onednn_product, onednn_product

__all__ = ["choices", "choose_products", "remember"]

_MARGIN = 1.25  # what oneDNN must win by, so that noise does not decide, and a repeated run decides alike
_ROUNDS = 9

_library = torch.library.Library("pyvae", "DEF")
_library.define("onednn_product(Tensor a, Tensor b) -> Tensor")


_library.impl("onednn_product", onednn_product, "CPU")
_library.impl("onednn_product", lambda a, b: a.new_empty(a.shape[0], b.shape[1]), "Meta")

_choices: dict[str, bool] = {}


def choices() -> dict[str, bool]:
    """Whether oneDNN won, for every product that was measured or remembered, by shapes, strides and threads."""
    return dict(_choices)


def remember(earlier: Mapping[str, bool]) -> None:
    """Take on choices that were made before, so that a resumed run rounds as the run that it goes on with."""
    _choices.update(earlier)


def choose_products(graph: fx.GraphModule) -> None:
    """Replace, in place, the products of a recorded graph that oneDNN computes faster on this machine."""
    if not has_onednn_product():
        return
    aten = torch.ops.aten
    for node in graph.graph.nodes:
        if node.target not in (aten.mm.default, aten.addmm.default) or node.kwargs:
            continue
        a, b = node.args[-2:]
        if not _eligible(a.meta["val"], b.meta["val"]) or not _onednn_wins(a.meta["val"], b.meta["val"]):
            continue
        with graph.graph.inserting_before(node):
            new = graph.graph.call_function(torch.ops.pyvae.onednn_product.default, (a, b))
            new.meta["val"] = node.meta["val"]
            if node.target is aten.addmm.default:
                new = graph.graph.call_function(aten.add.Tensor, (new, node.args[0]))
                new.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(new)
        graph.graph.erase_node(node)
    graph.recompile()


def _eligible(a: Tensor, b: Tensor) -> bool:
    return all(t.device.type == "cpu" and t.dtype is torch.float32 and t.numel() for t in (a, b))


def _onednn_wins(a: Tensor, b: Tensor) -> bool:
    """Whether oneDNN multiplies matrices such as these faster, by measurement."""
    key = f"{tuple(a.shape)}/{a.stride()} x {tuple(b.shape)}/{b.stride()}, {torch.get_num_threads()} threads"
    if key not in _choices:
        left, right = (torch.empty_strided(t.shape, t.stride()).fill_(1.0) for t in (a, b))
        ways = (lambda: torch.mm(left, right), lambda: torch.ops.pyvae.onednn_product(left, right))
        times = [[_seconds(way) for way in ways] for _ in range(_ROUNDS)]
        mkl, onednn = (statistics.median(column) for column in zip(*times, strict=True))
        _choices[key] = mkl > _MARGIN * onednn
    return _choices[key]


def _seconds(way: Callable[[], Tensor]) -> float:
    """The time of one call, after another that warms caches up; at least a millisecond's worth of calls."""
    way()
    calls, spent, start = 0, 0.0, time.perf_counter()
    while spent < 1e-3:
        way()
        calls += 1
        spent = time.perf_counter() - start
    return spent / calls
