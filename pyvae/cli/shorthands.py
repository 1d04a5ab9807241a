"""Short options of ``fit`` for what is set most often."""

import importlib
import inspect
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from jsonargparse import Namespace

from pyvae.cli.parser import Parser
from pyvae.errors import ArgumentError

__all__ = ["Shorthands", "expanded"]

_WEIGHTED, _WARM_UP = "pyvae.objectives.WeightedELBO", "pyvae.objectives.WarmUp"
_SHORT_FOR = {"lr": "optimizer.lr", "beta": "objective.beta", "warm_up": "objective.beta"}


@dataclass(frozen=True)
class Shorthands:
    """Short for longer options.

    Args:
        lr: the learning rate; the same as --optimizer.lr.
        beta: the weight of the KL, which makes a β-VAE; the same as --objective WeightedELBO --objective.beta.
        warm_up: how many epochs the weight of the KL takes to rise to 1; below 1, which part of the run.
    """

    lr: float | None = None
    beta: float | None = None
    warm_up: float | None = None


def expanded(parser: Parser, options: Namespace, given: Collection[str]) -> Namespace:
    """The options of a recipe's parser, in which the short ones have become the long ones.

    Args:
        parser: of the recipe.
        options: as it has parsed them.
        given: the names of the options that were given, by the command line or a file.

    Raises:
        ArgumentError: if two of them set the same, or there is nothing that they could set.
    """
    short = {name: options[name] for name in _SHORT_FOR if options[name] is not None}
    if not short:
        return options
    if {"beta", "warm_up"} <= short.keys():
        raise ArgumentError(
            "--beta and --warm-up both set the weight of the KL: give one of them; a weight that rises to another "
            "number than 1 is --objective WeightedELBO --objective.beta pyvae.objectives.Ramp"
        )
    for name in short:
        long = [n for n in given if f"{n.replace('.init_args', '')}.".startswith(f"{_SHORT_FOR[name]}.")]
        if long:
            raise ArgumentError(f"--{name.replace('_', '-')} and --{long[0]} set the same: give one of them")
    plain = json.loads(parser.dump(options, format="json", skip_unset=False))
    if "lr" in short:
        _set(plain, "lr", short["lr"])
    if "beta" in short:
        _set(plain, "beta", short["beta"])
    if "warm_up" in short:
        epochs = int(short["warm_up"]) if short["warm_up"] >= 1 and short["warm_up"].is_integer() else short["warm_up"]
        _set(plain, "warm_up", {"class_path": _WARM_UP, "init_args": {"epochs": epochs}})
    return parser.parse_object(plain)


def _set(plain: dict[str, Any], short: str, value: Any) -> None:
    """Set the argument of a class that a short option stands for."""
    option, _, name = _SHORT_FOR[short].partition(".")
    chosen = plain[option] or {"class_path": _WEIGHTED}
    module, _, kind = chosen["class_path"].rpartition(".")
    if name not in inspect.signature(getattr(importlib.import_module(module), kind)).parameters:
        raise ArgumentError(
            f"--{short.replace('_', '-')} sets {name} of the {option}, and {kind} has none: leave it out, or choose "
            f"another --{option}"
        )
    plain[option] = {**chosen, "init_args": {**(chosen.get("init_args") or {}), name: value}}
