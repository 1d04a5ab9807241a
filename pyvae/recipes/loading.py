"""Pairs from files: a recipe by name and arguments, and weights."""

import functools
import inspect
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError as ParsingError
from jsonargparse import ArgumentParser
from torch import nn

from pyvae import guides, likelihoods, networks, priors, quantizers, recipes
from pyvae.checkpoint import read_tensors, restore
from pyvae.errors import CheckpointError, PyvaeError
from pyvae.recipes.recipe import recorded

__all__ = ["build", "load", "with_paths_of_today"]

_FOLDERS = (guides, likelihoods, networks, priors, quantizers)
#: where classes have moved to, by the folder in which older files know them
_MOVED = {"guides": quantizers}


def build(name: str, arguments: dict[str, Any]) -> nn.Module:
    """The pair of a recipe by its name and its arguments as JSON, as a run or a file of weights records them.

    Arguments that the record lacks, as those of older versions do, have their defaults.

    Raises:
        CheckpointError: if there is no such recipe, it does not take these arguments, or they name a foreign class.
    """
    if name not in recipes.__all__ or not isinstance(arguments, dict):
        raise CheckpointError(
            f"there is no recipe {name!r} of {arguments!r}; expected one of {', '.join(recipes.__all__)}"
        )
    arguments = arguments_of_today(name, arguments)
    _check_trusted(arguments)
    make = getattr(recipes, name)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(make)
    try:
        pair = make(**parser.instantiate(parser.parse_object(arguments)).as_dict())
    except PyvaeError as error:  # which says what is wrong with which argument
        raise CheckpointError(f"recipe {name!r}: {error}") from error
    except (ParsingError, TypeError, ValueError) as error:
        raise CheckpointError(f"the recipe {name!r} cannot be built from {arguments}: {error}") from error
    pair.recipe = recorded(make, inspect.signature(make).bind(**arguments))
    return pair


def arguments_of_today(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A recipe's arguments as JSON, as today's version writes what is meant by them.

    Of which older files say nothing: their encoders saw counts as they are.
    """
    once = {"log_input": False} if "log_input" in inspect.signature(getattr(recipes, name)).parameters else {}
    return {**once, **with_paths_of_today(arguments)}


def with_paths_of_today(value: Any) -> Any:
    """A recipe's arguments as JSON, as today's version writes what is meant by them.

    Our classes go by folder and name, wherever their files were once: older files say, for instance,
    pyvae.guides.vector_quantizer.VectorQuantizer for pyvae.quantizers.VectorQuantizer. A scale of which they say
    nothing was fixed.
    """
    if isinstance(value, list | tuple):
        return [with_paths_of_today(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("arguments"), dict) and value.get("recipe") in recipes.__all__:  # the record of a run
        return {**value, "arguments": arguments_of_today(value["recipe"], value["arguments"])}
    today = {k: _path_of_today(v) if k == "class_path" else with_paths_of_today(v) for k, v in value.items()}
    if today.get("class_path") in _scaled() and isinstance(given := today.get("init_args", {}), dict):
        today["init_args"] = {"learn_scale": False, **given}
    return today


@functools.cache
def _scaled() -> frozenset[str]:
    """The paths of the likelihoods that may learn their scale."""
    classes = {name: getattr(likelihoods, name) for name in likelihoods.__all__}
    return frozenset(
        f"{likelihoods.__name__}.{n}" for n, c in classes.items() if "learn_scale" in inspect.signature(c).parameters
    )


def _path_of_today(path: object) -> object:
    """The path of a class; that of a class that is not ours as it is."""
    root, _, rest = path.partition(".") if isinstance(path, str) else ("", "", "")
    folder, _, name = rest.partition(".")
    name = name.rpartition(".")[2]
    known = [f for f in _FOLDERS if f.__name__ == f"pyvae.{folder}" or f is _MOVED.get(folder)]
    found = (f"{f.__name__}.{name}" for f in known if root == "pyvae" and name in f.__all__)
    return next(found, path)


def _trusted() -> set[str]:
    """The paths of the classes that a recorded recipe may name; importing anything else could run foreign code."""
    ours = {f"{folder.__name__}.{name}" for folder in _FOLDERS for name in folder.__all__}
    activations = nn.modules.activation
    return ours | {f"{module}.{name}" for module in (activations.__name__, "torch.nn") for name in activations.__all__}


def _check_trusted(value: object) -> None:
    """Refuse every string that is not the path of a trusted class: the parser would import it."""
    if isinstance(value, str) and not value.isidentifier():  # a choice such as "noise" names nothing to import
        raise CheckpointError(
            f"the recipe holds the text {value!r}; expected numbers, and classes of pyvae by class_path"
        )
    if isinstance(value, list):
        for item in value:
            _check_trusted(item)
    if isinstance(value, dict):
        path = value.get("class_path")
        if "class_path" in value and path not in _trusted():
            raise CheckpointError(f"the recipe names the class {path!r}, which is not ours; build the pair yourself")
        for key, item in value.items():
            if key != "class_path":
                _check_trusted(item)


def load(path: str | Path, pair: nn.Module | None = None) -> nn.Module:
    """Read a pair that :func:`pyvae.save` wrote, or the best weights of a checkpoint of :func:`pyvae.fit`.

    Args:
        path: the file.
        pair: the pair that takes the weights; needed unless a recipe made the pair that was saved.

    Returns:
        ``pair``, or a new one.

    Raises:
        CheckpointError: if the file is unreadable, or its weights do not belong to the pair.

    Example:
        >>> import tempfile, pyvae
        >>> path = Path(tempfile.mkdtemp()) / "vae.safetensors"
        >>> pyvae.save(path, pyvae.recipes.gaussian(shape=(5,), latent_dim=2))
        >>> load(path).model(size=3).shape
        torch.Size([3, 5])
    """
    if pair is None:
        _, header = read_tensors(path)
        recorded = header.get("recipe")
        if recorded is None:
            raise CheckpointError(f"{path} does not say how its pair is built: pass one, load(path, pair)")
        if not isinstance(recorded, dict):
            raise CheckpointError(f"the recipe of {path} is {recorded!r}; expected a name and arguments")
        try:
            pair = build(recorded.get("name"), recorded.get("arguments"))
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
    restore(path, pair)
    return pair
