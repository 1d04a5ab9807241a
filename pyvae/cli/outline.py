"""The commands and recipes by name, read from the source: to import them all would take seconds."""

import ast
import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Listed", "listed"]

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Listed:
    """A function that a module lists, not yet imported.

    Attributes:
        name: of the function.
        module: that it is in.
        summary: the first line of its docstring.
    """

    name: str
    module: str
    summary: str

    def load(self) -> Callable[..., object]:
        """The function itself."""
        return getattr(importlib.import_module(self.module), self.name)


@functools.cache
def listed(module: str) -> dict[str, Listed]:
    """The functions that a module of pyvae imports by ``from pyvae.… import …``, by name, sorted.

    Example:
        >>> listed("pyvae.cli.commands")["sample"].module
        'pyvae.cli.sample'
    """
    imports = [node for node in _parsed(module).body if isinstance(node, ast.ImportFrom)]
    found = {alias.name: (node.module, _summaries(node.module)) for node in imports for alias in node.names}
    return {name: Listed(name, source, lines[name]) for name, (source, lines) in sorted(found.items())}


@functools.cache
def _summaries(module: str) -> dict[str, str]:
    """The first lines of the docstrings of a module's functions, by name."""
    functions = [node for node in _parsed(module).body if isinstance(node, ast.FunctionDef)]
    return {f.name: (ast.get_docstring(f) or "").partition("\n")[0] for f in functions}


def _parsed(module: str) -> ast.Module:
    path = _ROOT.joinpath(*module.split("."))
    return ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8"))
