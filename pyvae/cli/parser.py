"""Command lines made from typed signatures."""

import inspect
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NoReturn

import yaml
from docstring_parser import parse
from jsonargparse import ActionYesNo, ArgumentParser

from pyvae import likelihoods, priors
from pyvae.errors import ArgumentError

__all__ = ["Parser", "add_signature", "check_config", "parameters_of", "underscored"]

#: the components that an option names; the first of each folder's names is its abstract kind
_NAMES = {"likelihood": likelihoods, "prior": priors}


class Parser(ArgumentParser):
    """A jsonargparse parser whose help spells options with hyphens, as they are usually typed."""

    def format_help(self) -> str:
        """The help, with --data-root for the parameter data_root, and without all modules of torch by name."""
        text = re.sub(r"known\s+subclasses:\s+torch\.nn\.Module,[^)]*\)", "any of torch.nn)", super().format_help())
        return re.sub(r"--[\w.]+", lambda option: option[0].replace("_", "-"), text)

    def format_usage(self) -> str:
        """The usage, spelled like the help."""
        return re.sub(r"--[\w.]+", lambda option: option[0].replace("_", "-"), super().format_usage())

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with status 2 and a message, which names the components that there are."""
        named = re.search(r'"(\w+)":\s+Expected a dot import path', message)
        if named and named[1] in _NAMES:
            message += f"\n  Expected one of {', '.join(_NAMES[named[1]].__all__)}, or the path of a class of yours"
        super().error(message, ex)


#: options that take a list of numbers, with or without brackets
_LISTS = ("--labels", "--hidden", "--channels", "--strides", "--dilations")


def check_config(parser: Parser, arguments: Sequence[str]) -> None:
    """Refuse YAML files with unknown keys, of which jsonargparse does not say which they are.

    Raises:
        ArgumentError: naming the unknown keys.
    """
    words = [word for argument in arguments for word in argument.split("=", 1)]
    for path in (words[i + 1] for i, word in enumerate(words[:-1]) if word == "--config"):
        try:
            content = yaml.safe_load(Path(path).read_text())
        except (OSError, ValueError, yaml.YAMLError):
            continue  # the parser's own message says it
        known = {key.split(".")[0] for key in parser.get_defaults().keys()}  # noqa: SIM118 (it is no dict)
        unknown = sorted(str(k) for k in content if k not in known) if isinstance(content, dict) else []
        if unknown:
            raise ArgumentError(f"{path} sets {', '.join(unknown)}; the options are {', '.join(sorted(known))}")


def parameters_of(function: Callable[..., object], skip: Collection[str] = ()) -> list[str]:
    """The names of a function's parameters, but those to skip."""
    return [name for name in inspect.signature(function).parameters if name not in skip]


def add_signature(parser: Parser, function: Callable[..., object], skip: Collection[str] = ()) -> None:
    """Give a parser the parameters of a function or a dataclass.

    Those without a default become positionals, booleans switches, and a list of strings without a default one or more
    words.
    """
    parameters = inspect.signature(function).parameters
    switches = {n: p for n, p in parameters.items() if p.annotation is bool and n not in skip}
    several = [n for n, p in parameters.items() if p.annotation == list[str] and p.default is p.empty]
    help_of = {p.arg_name: p.description for p in parse(inspect.getdoc(function) or "").params}
    for name in several:
        parser.add_argument(name, nargs="+", help=help_of.get(name))
    add = parser.add_class_arguments if inspect.isclass(function) else parser.add_function_arguments
    add(function, skip={*skip, *switches, *several}, as_positional=True)
    for name, parameter in switches.items():
        parser.add_argument(f"--{name}", action=ActionYesNo, default=parameter.default, help=help_of.get(name))


def underscored(arguments: list[str]) -> list[str]:
    """Words as jsonargparse knows them: --data-root=some-where becomes --data_root=some-where, 3,7 becomes [3,7]."""

    def spelled(argument: str) -> str:
        option, equals, value = argument.partition("=")
        return option.replace("-", "_").replace("__", "--", 1) + equals + value if option.startswith("--") else argument

    words: list[str] = []
    for argument in arguments:
        word = spelled(argument)
        option, equals, value = word.partition("=")
        if option in _LISTS and equals:
            word = f"{option}={_bracketed(value)}"
        elif words and words[-1] in _LISTS:
            word = _bracketed(word)
        words.append(word)
    return words


def _bracketed(value: str) -> str:
    return f"[{value}]" if re.fullmatch(r"\d+(,\d+)*", value) else value
