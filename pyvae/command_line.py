"""Command lines made from typed signatures."""

import inspect
import re
from collections.abc import Callable, Collection

from docstring_parser import parse
from jsonargparse import ActionYesNo, ArgumentParser

__all__ = ["Parser", "add_signature", "underscored"]


class Parser(ArgumentParser):
    """A jsonargparse parser whose help spells options with hyphens, as they are usually typed."""

    def format_help(self) -> str:
        """The help, with --data-root for the parameter data_root."""
        return re.sub(r"--[\w.]+", lambda option: option[0].replace("_", "-"), super().format_help())

    def format_usage(self) -> str:
        """The usage, spelled like the help."""
        return re.sub(r"--[\w.]+", lambda option: option[0].replace("_", "-"), super().format_usage())


def add_signature(parser: Parser, function: Callable[..., object], skip: Collection[str] = ()) -> None:
    """Give a parser the parameters of a function: those without a default as positionals, booleans as switches."""
    parameters = inspect.signature(function).parameters
    switches = {n: p for n, p in parameters.items() if p.annotation is bool and n not in skip}
    parser.add_function_arguments(function, skip={*skip, *switches}, as_positional=True)
    help_of = {p.arg_name: p.description for p in parse(inspect.getdoc(function) or "").params}
    for name, parameter in switches.items():
        parser.add_argument(f"--{name}", action=ActionYesNo, default=parameter.default, help=help_of.get(name))


def underscored(arguments: list[str]) -> list[str]:
    """Options as jsonargparse knows them: --data-root=some-where becomes --data_root=some-where."""

    def spelled(argument: str) -> str:
        option, equals, value = argument.partition("=")
        return option.replace("-", "_").replace("__", "--", 1) + equals + value if option.startswith("--") else argument

    return [spelled(argument) for argument in arguments]
