"""Code of the user's own: modules that the user has named, here and now, and never because a file names them."""

import hashlib
import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import nn

from pyvae.errors import RUN_ERRORS, ArgumentError
from pyvae.recipes.recipe import recipe

__all__ = ["code_of", "is_named", "modules_of", "named_code", "own_recipe", "warn_of_other_code"]

_NAMED: ContextVar[frozenset[str]] = ContextVar("modules that the user has named", default=frozenset())
_LIBRARIES = ("pyvae", "pyro", "torch")


@contextmanager
def named_code(modules: Iterable[str]) -> Iterator[None]:
    """Let records name recipes and classes of these modules, too, in this block."""
    token = _NAMED.set(_NAMED.get() | set(modules))
    try:
        yield
    finally:
        _NAMED.reset(token)


def is_named(path: str) -> bool:
    """Whether a recipe ``module:function``, or a class ``module.Class``, is of a module that the user has named."""
    return _module(path) in _NAMED.get()


def own_recipe(name: str) -> Callable[..., nn.Module]:
    """The recipe ``module:function``, whose module the user has named; it is imported.

    Raises:
        ArgumentError: if there is no such module or function, or it is no recipe.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, SyntaxError, *RUN_ERRORS) as error:
        raise ArgumentError(
            f"cannot import {name}: {type(error).__name__}: {error}; expected MODULE:FUNCTION, of a module that can be "
            "imported from the current directory"
        ) from error
    if not inspect.isfunction(found) or "shape" not in inspect.signature(found).parameters:
        raise ArgumentError(
            f"{name} is {found!r}; expected a function that makes a pair from shape, the event shape of the data, and "
            "typed options"
        )
    if untyped := [n for n, p in inspect.signature(found).parameters.items() if p.annotation is p.empty]:
        raise ArgumentError(
            f"{name} has no type for {untyped[0]}; expected hints such as shape: list[int], width: int = 3"
        )
    return found if hasattr(found, "trains") else recipe()(found)


def modules_of(arguments: object) -> set[str]:
    """The modules of all classes and functions in arguments as JSON that are of none of the libraries; all imported."""
    if isinstance(arguments, Mapping):
        return set().union(*map(modules_of, arguments.values()))
    if isinstance(arguments, list | tuple):
        return set().union(*map(modules_of, arguments))
    module = _module(arguments) if isinstance(arguments, str) else ""
    return {module} if module in sys.modules and module.partition(".")[0] not in _LIBRARIES else set()


def code_of(name: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """The hashes of the sources of the modules that a recipe and its arguments are of, if they are the user's own."""
    modules = modules_of(arguments) | ({_module(name)} if ":" in name else set())
    return {module: _hash(module) for module in sorted(modules)}


def warn_of_other_code(code: Mapping[str, str]) -> None:
    """Warn of modules whose source is not the one that was recorded."""
    changed = [module for module, digest in code.items() if is_named(f"{module}:") and _hash(module) != digest]
    if changed:
        warnings.warn(
            f"the source of {', '.join(changed)} is not the one that the pair was trained with: it may be another pair",
            stacklevel=3,
        )


def _module(path: str) -> str:
    return path.partition(":")[0] if ":" in path else path.rpartition(".")[0]


def _hash(module: str) -> str:
    """SHA-256 of the source of a module; of one without a source, of nothing."""
    try:
        source = inspect.getsource(importlib.import_module(module))
    except (OSError, TypeError):
        source = ""
    return hashlib.sha256(source.encode()).hexdigest()
