"""Recording of a function's effects on tensors, without the Python that causes them."""

import numbers
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from pyvae.compilation.budget import Budget
from pyvae.compilation.layouts import ChannelsLast
from pyvae.compilation.python_state import PythonState
from pyvae.core.modules import isolated_param_store
from pyvae.core.random_streams import isolated_rng
from pyvae.core.torch_internals import FakeTensor, pytree, trace_graph
from pyvae.errors import PyvaeError, TraceError, first_lines

__all__ = ["Recording", "as_tensor", "reason", "record", "without_items"]


_DECIDES = "it reads the value of a tensor, to decide by it or to compute outside of torch"
_READERS = {
    *(Tensor.__bool__, Tensor.__float__, Tensor.__int__, Tensor.__index__, Tensor.__complex__),
    *(Tensor.tolist, Tensor.numpy, Tensor.__array__),
}


class _Number(numbers.Number):
    """What ``.item()`` gives to an objective while it is recorded: a number that is not known yet.

    It can be computed with; a decision that hangs on it cannot be recorded.
    """

    __hash__ = None

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __add__(self, other: Any) -> "_Number":
        return _Number(self.tensor + _plain(other))

    def __sub__(self, other: Any) -> "_Number":
        return _Number(self.tensor - _plain(other))

    def __rsub__(self, other: Any) -> "_Number":
        return _Number(_plain(other) - self.tensor)

    def __mul__(self, other: Any) -> "_Number":
        return _Number(self.tensor * _plain(other))

    def __truediv__(self, other: Any) -> "_Number":
        return _Number(self.tensor / _plain(other))

    def __neg__(self) -> "_Number":
        return _Number(-self.tensor)

    __radd__, __rmul__ = __add__, __mul__

    def __ne__(self, other: object) -> bool:
        if other is self:  # the idiom that asks for NaN: whoever runs the recording looks at the number itself
            return False
        raise TraceError(_DECIDES)

    def _decide(self, *other: object) -> bool:
        raise TraceError(_DECIDES)

    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __float__ = __int__ = _decide


def _plain(number: Any) -> Any:
    return number.tensor if isinstance(number, _Number) else number


def as_tensor(number: Any) -> Tensor:
    """A number, also one that is being recorded, as a tensor."""
    return torch.as_tensor(_plain(number))


class _Reading(TorchFunctionMode):
    """While it is on, ``.item()`` gives a number that is not known yet, and all reading of values is noted.

    What is noted is refused after the run. To refuse it on the spot would raise an exception inside of torch's C++
    code, and not all of that can be left so. Tensors without content refuse to be read themselves.

    Attributes:
        refusal: why there can be no recording, as far as is known.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refusal: str | None = None
        self._items_allowed = True

    @contextmanager
    def refusing_items(self) -> Iterator[None]:
        """A block in which ``.item()`` is refused too."""
        before, self._items_allowed = self._items_allowed, False
        try:
            yield
        finally:
            self._items_allowed = before

    def __torch_function__(
        self, function: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict | None = None
    ) -> Any:
        if function is Tensor.item:
            if not self._items_allowed:
                self.refusal = self.refusal or "it reads a number out of a tensor with .item()"
            return _Number(args[0].detach())
        if function in _READERS:
            self.refusal = self.refusal or _DECIDES
        return function(*args, **(kwargs or {}))


_reading: ContextVar[_Reading] = ContextVar("_reading")


def without_items(program: Callable) -> Callable:
    """The program of a pair, in which ``.item()`` is refused while it is recorded."""

    def run(*args: Any, **kwargs: Any) -> Any:
        with _reading.get().refusing_items():
            return program(*args, **kwargs)

    return run


@dataclass(frozen=True)
class Recording:
    """A graph of tensor operations.

    Attributes:
        graph: takes the parameters and buffers of the module, the inputs and the constants, one after another, changes
            in place what the function changed in place, and returns the flat list of the function's results.
        constants: tensors that the function found elsewhere, such as plain attributes of the module.
        structure: what the flat list of results is to be made into.
    """

    graph: fx.GraphModule
    constants: list[Tensor]
    structure: pytree.TreeSpec


class _Body(nn.Module):
    """Runs a function with the state of a module replaced."""

    def __init__(self, module: nn.Module, function: Callable) -> None:
        super().__init__()
        self.module = module
        self._function = function

    def forward(self, *inputs: Any) -> Any:
        before = list(self.module.buffers())
        results = self._function(*inputs)
        for (name, buffer), was in zip(self.module.named_buffers(), before, strict=False):
            if buffer is not was:
                raise TraceError(f"it assigns another tensor to the buffer {name!r}; change it in place, with copy_")
        return results


def record(
    module: nn.Module, function: Callable, inputs: Sequence[Any], most_operations: int | None = None
) -> Recording:
    """Run ``function(*inputs)`` once on tensors without content and record its operations.

    The function may use the module's parameters, take gradients with respect to them, and change parameters, buffers
    and inputs in place. Random sampling is recorded as such. Inputs that are no tensors become constants. The module,
    the random streams and the param store are left as they were. What takes more than ``most_operations`` is given up:
    the compiler needs a millisecond or two for each, and more for each of many.

    Raises:
        TraceError: if what the function does depends on the values of tensors, on other random streams than torch's,
            or on attributes of the module that it changes itself; or if it assigns to a buffer.
    """
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    body, budget = _Body(module, function), Budget(most_operations)
    structure = None

    def flat(*tensors: Tensor) -> list[Tensor]:
        nonlocal structure
        found = iter(tensors)
        state = {f"module.{n}": next(found).detach().requires_grad_(p.requires_grad) for n, p in parameters.items()}
        state |= {f"module.{n}": next(found) for n in buffers}
        arguments = tuple(next(found) if isinstance(i, Tensor) else i for i in inputs)
        with budget:
            results = functional_call(body, state, arguments)
        leaves, structure = pytree.tree_flatten(results)
        return leaves

    examples = [t.detach() for t in (*parameters.values(), *buffers.values())]
    examples += [i.detach() for i in inputs if isinstance(i, Tensor)]
    graph = _guarded(module, flat, examples, budget)
    return Recording(graph, _lift_constants(graph), structure)


def _guarded(module: nn.Module, flat: Callable, examples: Sequence[Tensor], budget: Budget) -> fx.GraphModule:
    """Record, and refuse what leaves traces that no recording would leave again."""
    before, reading = PythonState(module), _Reading()
    token = _reading.set(reading)
    with isolated_rng(), isolated_param_store(), pyro.validation_enabled(False), torch.enable_grad():
        streams = _other_streams()
        try:
            with ChannelsLast(), reading:
                graph = trace_graph(flat, *examples)
        except Exception as error:  # of any kind: what cannot be recorded can still be run as it is
            if isinstance(error, PyvaeError) and not isinstance(error, TraceError):
                raise
            budget.check()  # what comes after it is used up means nothing
            raise TraceError(reading.refusal or reason(error)) from error
        finally:
            _reading.reset(token)
            changed = PythonState(module).difference(before)
            before.restore()
        budget.check()
        if reading.refusal:
            raise TraceError(reading.refusal)
        if changed:
            raise TraceError(f"it changes the attribute {changed!r} of the pair as it runs")
        if _other_streams() != streams:
            raise TraceError("it draws random numbers from Python or numpy; draw them with torch")
    graph.graph.eliminate_dead_code()
    return graph


def _other_streams() -> tuple:
    """Where the random streams of Python and numpy stand."""
    _, keys, position, *rest = np.random.get_state()
    return random.getstate(), keys.tobytes(), position, *rest


def reason(error: Exception) -> str:
    """The reason why a pair cannot be compiled, in one line."""
    message = first_lines(error).splitlines()
    if isinstance(error, TraceError):
        return message[0]
    return f"{type(error).__name__}: {message[0]}" if message else f"a {type(error).__name__} while it was recorded"


def _lift_constants(graph: fx.GraphModule) -> list[Tensor]:
    """Make inputs of the tensors that the graph holds, so that they are read anew at each run."""
    inputs: dict[str, fx.Node] = {}
    constants: list[Tensor] = []
    last = [n for n in graph.graph.nodes if n.op == "placeholder"][-1]
    for node in graph.graph.find_nodes(op="get_attr"):
        name = str(node.target)
        if name not in inputs:
            tensor = getattr(graph, name)
            if tensor.requires_grad:
                if isinstance(tensor.grad, FakeTensor):
                    tensor.grad = None
                raise TraceError("it uses a tensor that requires a gradient and is no parameter of the pair")
            constants.append(tensor.detach())
            with graph.graph.inserting_after(last):
                last = inputs[name] = graph.graph.placeholder(f"constant_{len(inputs)}")
            last.meta = {"val": constants[-1], **node.meta}
        node.replace_all_uses_with(inputs[name])
        graph.graph.erase_node(node)
    graph.recompile()
    return constants
