"""Indices of a recorded graph that are out of range."""

import functools
from typing import NamedTuple

import torch
from torch import fx

__all__ = ["guard_indices"]

_aten = torch.ops.aten
#: operations that take an index along a dimension, as (tensor, dimension, index, …)
_ALONG = (
    *(_aten.gather, _aten.index_select, _aten.index_add, _aten.index_add_, _aten.index_copy, _aten.index_copy_),
    *(_aten.index_fill, _aten.index_fill_, _aten.scatter, _aten.scatter_, _aten.scatter_add, _aten.scatter_add_),
    *(_aten.scatter_reduce, _aten.scatter_reduce_),
)
#: operations that take an index for each dimension, as (tensor, indices, …); these count from the end too
_ADVANCED = (_aten.index, _aten.index_put, _aten.index_put_)
_LOSSES = (*(_aten.nll_loss_forward, _aten.nll_loss2d_forward), *(_aten.nll_loss_backward, _aten.nll_loss2d_backward))


def guard_indices(graph: fx.GraphModule) -> bool:
    """Let a graph report, in one more result, whether all of its indices are in range, and use those alone.

    Compiled code on several threads ends the process at an index that is out of range, for which PyTorch raises an
    IndexError. On other devices than CPUs, where PyTorch does not either, the graph stays as it is.

    Returns:
        Whether there are indices to report on.
    """
    verdicts = [_guard(graph.graph, node, index) for node in list(graph.graph.nodes) for index in _indices(node)]
    if not verdicts:
        return False
    (output,) = graph.graph.find_nodes(op="output")
    with graph.graph.inserting_before(output):
        call = graph.graph.call_function
        everything = functools.reduce(lambda a, b: call(_aten.logical_and.default, (a, b)), verdicts)
    output.args = ([*output.args[0], everything],)
    graph.recompile()
    return True


class _Index(NamedTuple):
    """An index that a node uses."""

    node: fx.Node
    smallest: int
    bound: int
    exempt: int | None = None


def _indices(node: fx.Node) -> list[_Index]:
    """The indices that an operation uses on a CPU; masks are none."""
    packet, args = getattr(node.target, "overloadpacket", None), node.args
    found = []
    if packet in _ALONG:
        found = [_Index(args[2], 0, (_shape(args[0]) or (1,))[args[1]])]
    elif packet is _aten.embedding:
        found = [_Index(args[1], 0, _shape(args[0])[0])]
    elif packet is _aten.embedding_dense_backward:
        found = [_Index(args[1], 0, args[2])]
    elif packet in _LOSSES:
        tensor, target, _, _, exempt = args[-6:-1] if packet in _LOSSES[2:] else args
        found = [_Index(target, 0, _shape(tensor)[min(1, len(_shape(tensor)) - 1)], exempt)]
    elif packet in _ADVANCED:
        sizes = zip(args[1], _shape(args[0]), strict=False)
        found = [_Index(index, -size, size) for index, size in sizes if index is not None]
    values = [index.node.meta["val"] for index in found]
    return [i for i, v in zip(found, values, strict=True) if v.device.type == "cpu" and v.dtype != torch.bool]


def _shape(node: fx.Node) -> torch.Size:
    return node.meta["val"].shape


def _guard(graph: fx.Graph, user: fx.Node, index: _Index) -> fx.Node:
    """Give a node an index in range, and say whether the one that it had was."""
    call = graph.call_function
    with graph.inserting_before(user):
        bounds = (call(_aten.ge.Scalar, (index.node, index.smallest)), call(_aten.lt.Scalar, (index.node, index.bound)))
        inside = call(_aten.logical_and.default, bounds)
        if index.exempt is not None:
            inside = call(_aten.logical_or.default, (inside, call(_aten.eq.Scalar, (index.node, index.exempt))))
        safe = call(_aten.mul.Tensor, (index.node, inside))
        safe.meta["val"] = index.node.meta["val"]
        verdict = call(_aten.all.default, (inside,))
    user.replace_input_with(index.node, safe)
    return verdict
