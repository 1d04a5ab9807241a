"""Pairs from files: a recipe by name and arguments, and weights."""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError as ParsingError
from jsonargparse import ArgumentParser
from torch import nn

from pyvae import guides, likelihoods, networks, priors, quantizers, recipes
from pyvae.checkpoint import read_tensors, restore
from pyvae.errors import CheckpointError, PyvaeError
from pyvae.recipes.own_code import code_of, is_named, named_code, own_recipe, warn_of_other_code
from pyvae.recipes.recipe import recorded

__all__ = ["build", "check_trusted", "find_recipe", "load", "with_paths_of_today"]

_FOLDERS = (guides, likelihoods, networks, priors, quantizers)
#: where classes have moved to, by the folder in which older files know them
_MOVED = {"guides": quantizers}


def build(name: str, arguments: dict[str, Any], code: Mapping[str, str] | None = None) -> nn.Module:
    """The pair of a recipe by its name and its arguments as JSON, as a run or a file of weights records them.

    Arguments that the record lacks, as those of older versions do, have their defaults.

    Args:
        name: of the recipe.
        arguments: of the recipe.
        code: hashes of the sources that are not ours.

    Raises:
        CheckpointError: if there is no such recipe, it does not take these arguments, or it is, or they name, code of
            modules that the user has not named.
    """
    if not isinstance(arguments, dict):
        raise CheckpointError(f"the arguments of the recipe {name!r} are {arguments!r}; expected them by name")
    make = find_recipe(name)
    arguments = arguments_of_today(name, arguments)
    check_trusted(arguments)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(make)
    try:
        pair = make(**parser.instantiate(parser.parse_object(arguments)).as_dict())
    except PyvaeError as error:  # which says what is wrong with which argument
        raise CheckpointError(f"recipe {name!r}: {error}") from error
    except (ParsingError, TypeError, ValueError) as error:
        raise CheckpointError(f"the recipe {name!r} cannot be built from {arguments}: {error}") from error
    warn_of_other_code(code or {})
    pair.recipe = recorded(make, inspect.signature(make).bind(**arguments))
    if own := code_of(name, arguments):
        pair.recipe = {**pair.recipe, "name": name, "code": own}
    return pair


def find_recipe(name: object) -> Callable[..., nn.Module]:
    """A recipe by its name, or one of the user's own, MODULE:FUNCTION, whose module the user has named.

    Raises:
        ArgumentError: if the module of one's own has no such recipe.
        CheckpointError: if there is no such recipe, or its module was not named.
    """
    if name in recipes.__all__:
        return getattr(recipes, name)
    if not isinstance(name, str) or ":" not in name:
        raise CheckpointError(f"there is no recipe {name!r}; expected one of {', '.join(recipes.__all__)}")
    if not is_named(name):
        raise CheckpointError(f"the recipe {name} is not ours, and no file may ask to run it: {_name_it(name)}")
    return own_recipe(name)


def _name_it(path: str) -> str:
    module = path.partition(":")[0] if ":" in path else path.rpartition(".")[0]
    return f"if you trust it, name its module, by --trust {module} or in Python by load(…, trust=[{module!r}])"


def arguments_of_today(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A recipe's arguments as JSON, as today's version writes what is meant by them.

    Of which older files say nothing: their encoders saw counts as they are.
    """
    once = {"log_input": False} if "log_input" in inspect.signature(find_recipe(name)).parameters else {}
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


def _is_trusted(path: object) -> bool:
    return path in _trusted() or is_named(str(path))


def check_trusted(value: object, known: Callable[[object], bool] = _is_trusted) -> None:
    """Refuse every string that is not the path of a trusted class: a parser would import it.

    Args:
        value: arguments as JSON.
        known: whether the path of a class is trusted; by default, that of a component of ours or an activation.

    Raises:
        CheckpointError: naming the first one.
    """
    # a choice such as "noise" names nothing to import
    if isinstance(value, str) and not (value.isidentifier() or is_named(value)):
        raise CheckpointError(
            f"the record holds the text {value!r}; expected numbers, and classes of pyvae by class_path"
        )
    if isinstance(value, list):
        for item in value:
            check_trusted(item, known)
    if isinstance(value, dict):
        path = value.get("class_path")
        if "class_path" in value and not (isinstance(path, str) and known(path)):
            raise CheckpointError(f"the record names the class {path!r}, which is not ours: {_name_it(str(path))}")
        for key, item in value.items():
            if key != "class_path":
                check_trusted(item, known)


def load(path: str | Path, pair: nn.Module | None = None, trust: Collection[str] = ()) -> nn.Module:
    """Read a pair that :func:`pyvae.save` wrote, or the best weights of a checkpoint of :func:`pyvae.fit`.

    Args:
        path: the file.
        pair: the pair that takes the weights; needed unless a recipe made the pair that was saved.
        trust: modules of your own whose recipes and classes the file may name; they are imported, which runs them.

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
            with named_code(trust):
                pair = build(recorded.get("name"), recorded.get("arguments"), recorded.get("code"))
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
    restore(path, pair)
    return pair
