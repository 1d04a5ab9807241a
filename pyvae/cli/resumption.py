"""``pyvae fit --resume RUN``: everything is taken from the run, but what the command line says anew."""

import importlib
import inspect
from collections.abc import Sequence
from typing import Any

from pyro.infer import ELBO
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from pyvae import objectives
from pyvae.cli.data import load_data
from pyvae.cli.options import CLASSES, FROM_DATA
from pyvae.cli.runs import Run
from pyvae.errors import ArgumentError, RunError
from pyvae.recipes.loading import arguments_of_today, check_trusted
from pyvae.recipes.own_code import is_named

__all__ = ["options_of_run", "resuming_words"]


def resuming_words(directory: str, recipe: str, words: Sequence[str]) -> list[str]:
    """The words of ``fit`` that go on with a run of a recipe.

    Raises:
        ArgumentError: if the words name another directory.
        RunError: if they name another recipe.
    """
    named = [w for w in words[1:2] if not w.startswith("--")]
    if named and named != [recipe]:
        raise RunError(f"cannot resume {directory}: it is a run of the recipe {recipe}, not of {named[0]}")
    if any(w.partition("=")[0] == "--run_dir" for w in words):
        raise ArgumentError(f"--resume {directory} names the directory of the run already: leave out --run-dir")
    return ["fit", recipe, *words[1 + len(named) :], "--resume", f"--run_dir={directory}"]


def options_of_run(run: Run, words: Sequence[str]) -> dict[str, Any]:
    """The options of a run as it was recorded, but those that the words give anew.

    Raises:
        CheckpointError: if the record names a class that is none of the libraries' own: it could be anyone's code.
    """
    given = {word.partition("=")[0].removeprefix("--") for word in words}
    # an older record lacks the younger options of data, and a recipe's own default is not what the run was given
    of_data = {name: parameter.default for name, parameter in inspect.signature(load_data).parameters.items()}
    arguments = arguments_of_today(run.recipe, run.arguments)
    recorded = {**of_data, **arguments, **run.data, **run.training}
    options = {name: value for name, value in recorded.items() if name not in given | FROM_DATA}
    for name in arguments.keys() & options.keys():
        check_trusted(options[name])
    for name in CLASSES & options.keys():
        check_trusted(options[name], lambda path: _is_of_training(path) or is_named(path))
    return options


def _is_of_training(path: str) -> bool:
    """Whether this is the path of an objective, an optimizer or a schedule of pyvae, Pyro or torch."""
    module, _, name = path.rpartition(".")
    if module.partition(".")[0] not in ("pyvae", "pyro", "torch"):
        return False
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return False
    weights = {getattr(objectives, n) for n in objectives.__all__}
    return inspect.isclass(found) and (issubclass(found, (ELBO, Optimizer, LRScheduler)) or found in weights)
