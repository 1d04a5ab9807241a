"""Compilation: a pair's programs, recorded once as a graph of tensor operations and then run without Python."""

from pyvae.compilation.adam import RecordableAdam
from pyvae.compilation.compiled import CompiledELBO, compile
from pyvae.compilation.products import choices, remember
from pyvae.compilation.program import Program, described
from pyvae.compilation.python_state import PythonState
from pyvae.compilation.sampling import CompiledPredictive
from pyvae.compilation.tracing import as_tensor, without_items

__all__ = [
    "CompiledELBO",
    "CompiledPredictive",
    "Program",
    "PythonState",
    "RecordableAdam",
    "as_tensor",
    "choices",
    "compile",
    "described",
    "remember",
    "without_items",
]
