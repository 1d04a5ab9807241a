"""Functions of a module's state, recorded and compiled."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyvae.compilation.indices import guard_indices
from pyvae.compilation.products import choose_products
from pyvae.compilation.python_state import PythonState
from pyvae.compilation.tracing import reason, record
from pyvae.core.torch_internals import compile_graph, pytree
from pyvae.errors import TraceError

__all__ = ["Program", "Programs", "described"]


def described(value: Any) -> Any:
    """The properties of an input for which a program is compiled."""
    if not isinstance(value, Tensor):
        return type(value), value
    return value.shape, value.stride(), value.dtype, value.device, value.requires_grad


class Program:
    """``function(*inputs)``, compiled for inputs of the types and shapes of ``inputs``.

    Args:
        module: whose parameters and buffers the function uses, and may change in place.
        function: of tensors, and of other values, which become constants.
        inputs: an example of its arguments.
        most_operations: how many it may take to be worth compiling; None for any number.

    Raises:
        TraceError: if the function cannot be recorded or compiled.
    """

    def __init__(
        self, module: nn.Module, function: Callable, inputs: Sequence[Any], most_operations: int | None = None
    ) -> None:
        recording = record(module, function, inputs, most_operations)
        self._constants, self._structure = recording.constants, recording.structure
        example = [t.detach() for t in (*self.state(module), *inputs, *self._constants) if isinstance(t, Tensor)]
        try:
            choose_products(recording.graph)
            self._reports_indices = guard_indices(recording.graph)
            with torch.no_grad():
                self._run = compile_graph(recording.graph, example)
        except Exception as error:  # whatever it is, without a compiler or a place to write: there is the eager way
            raise TraceError(f"the compiler failed: {reason(error)}") from error

    @staticmethod
    def state(module: nn.Module) -> list[Tensor]:
        """The tensors that a program reads from its module: parameters, then buffers."""
        return [*module.parameters(), *module.buffers()]

    @torch.no_grad()
    def __call__(self, state: Sequence[Tensor], *inputs: Any) -> Any:
        """The function's results for this state of the module and these inputs, without their gradients.

        Raises:
            TraceError: if the compiled program fails, or an index into a tensor is out of range.
        """
        tensors = (i for i in inputs if isinstance(i, Tensor))
        try:
            results = list(self._run(*state, *tensors, *self._constants))
        except Exception as error:
            raise TraceError(f"the compiled program failed: {reason(error)}") from error
        if self._reports_indices and not results.pop():
            raise TraceError("an index into a tensor is out of range")
        return pytree.tree_unflatten(results, self._structure)


class Programs:
    """The programs of one pair, each compiled at the first call with its signature.

    That is what they read as constants: Python's state, autocast's, and types and shapes. A copy has none of the
    programs, which belong to this process.

    Args:
        pair: the module whose functions they are.
    """

    def __init__(self, pair: nn.Module) -> None:
        self._pair = pair
        self._compiled: dict[tuple, Program] = {}

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_compiled": {}}

    def run(self, function: Callable, inputs: Sequence[Any], instead: str, key: Hashable = None) -> Any:
        """``function(*inputs)``.

        Args:
            function: the same at every call with the same ``key``.
            inputs: tensors, and constants.
            instead: what to do where the function cannot be compiled.
            key: what else the function reads.

        Raises:
            TraceError: if it cannot be compiled.
        """
        state = Program.state(self._pair)
        device = state[0].device.type if state else "cpu"
        autocast = (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
        signature = (key, PythonState(self._pair).key, autocast, *(described(i) for i in (*state, *inputs)))
        if signature not in self._compiled:
            try:
                self._compiled[signature] = Program(self._pair, function, inputs)
            except TraceError as error:
                name = type(self._pair).__name__
                raise TraceError(f"{name} cannot be compiled: {error}. Use {instead}") from error
        return self._compiled[signature](state, *inputs)
