"""Pairs from files: a recipe by name and arguments, and weights."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError as ParsingError
from jsonargparse import ArgumentParser
from torch import nn

from pyvae import guides, likelihoods, networks, priors, recipes
from pyvae.checkpoint import read_tensors, restore
from pyvae.errors import CheckpointError

__all__ = ["build", "load"]


def build(name: str, arguments: dict[str, Any]) -> nn.Module:
    """The pair of a recipe by its name and its arguments as JSON, as a run or a file of weights records them.

    Raises:
        CheckpointError: if there is no such recipe, it does not take these arguments, or they name a foreign class.
    """
    if name not in recipes.__all__ or not isinstance(arguments, dict):
        raise CheckpointError(
            f"there is no recipe {name!r} of {arguments!r}; expected one of {', '.join(recipes.__all__)}"
        )
    _check_trusted(arguments)
    make = getattr(recipes, name)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(make)
    try:
        pair = make(**parser.instantiate(parser.parse_object(arguments)).as_dict())
    except (ParsingError, TypeError, ValueError) as error:
        raise CheckpointError(f"the recipe {name!r} cannot be built from {arguments}: {error}") from error
    pair.recipe = {"name": name, "arguments": arguments}
    return pair


def _trusted() -> set[str]:
    """The paths of the classes that a recorded recipe may name; importing anything else could run foreign code."""
    folders = (guides, likelihoods, networks, priors, nn.modules.activation)
    classes = [(folder, getattr(folder, name)) for folder in folders for name in folder.__all__]
    paths = {f"{folder.__name__}.{cls.__name__}" for folder, cls in classes}
    return (
        paths
        | {f"{cls.__module__}.{cls.__name__}" for _, cls in classes}
        | {f"torch.nn.{name}" for name in nn.modules.activation.__all__}
    )


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
