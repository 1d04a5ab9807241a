"""Command lines made from typed signatures."""

import functools
import inspect
import re
import shutil
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, Union, get_args, get_origin

import yaml
from docstring_parser import parse
from jsonargparse import ActionYesNo, ArgumentParser

from pyvae.cli.complaints import complaint, did_you_mean
from pyvae.cli.help import Option, help_page, option_of, plain_text
from pyvae.errors import ArgumentError

__all__ = ["Parser", "add_signature", "given_options", "parameters_of"]

_OWN_CLASS = r"[\w.]+:\w+"
_OF_CLASSES = "explain a class and its arguments, which are given as --OPTION.ARGUMENT, such as --optimizer.lr 0.01"
_NUMBER = r"-?[\d.]+(?:e[-+]?\d+)?"


class Parser(ArgumentParser):
    """A jsonargparse parser whose help and complaints are in plain words.

    Attributes:
        components: by option, the names of the components that it takes.
        lists: the options that take a list of numbers, with or without brackets.
        sections: the parameters that have become options, with their descriptions, by the titles of the help.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.components: dict[str, list[str]] = {}
        self.lists: set[str] = set()
        self.sections: dict[str, list[tuple[inspect.Parameter, str]]] = {}

    def parse_args(self, args: Sequence[str] | None = None, *others: Any, **kwargs: Any) -> Any:
        """The arguments, where 3,7 stands for [3,7] if the option takes a list, and module:Class for module.Class."""
        words: list[str] = []
        for word in sys.argv[1:] if args is None else args:
            option, equals, value = word.partition("=")
            if equals:
                word = f"{option}={self._spelled(option, value)}"
            elif words:
                word = self._spelled(words[-1], word)
            words.append(word)
        return super().parse_args(words, *others, **kwargs)

    def _spelled(self, option: str, value: str) -> str:
        """The value of an option as jsonargparse knows it."""
        if option in self.lists:
            return _bracketed(value)
        is_class = self.components.get(option.removeprefix("--").partition(".")[0]) and re.fullmatch(_OWN_CLASS, value)
        return value.replace(":", ".") if is_class else value

    def format_help(self) -> str:
        """The help in plain words; of a class, that of jsonargparse."""
        if not self.sections:
            return re.sub(r"--[\w.]+", lambda option: option[0].replace("_", "-"), super().format_help())
        defaults = self.get_defaults().as_dict()
        sections: dict[str, list[Option]] = {title: [] for title in self.sections}
        names = []
        for title, described in self.sections.items():
            for parameter, description in described:
                option = option_of(
                    parameter, description, self.components[parameter.name], defaults.get(parameter.name)
                )
                names += [] if option.name.startswith("-") else [option.name]
                sections[title].append(option)
        other = [a for a in self._actions if a.option_strings and a.dest in ("help", "config", "print_config", "trust")]
        told = [Option(a.option_strings[-1].replace("_", "-"), "", plain_text(a.help or "").rstrip(".")) for a in other]
        if any(self.components.values()):
            told.append(Option("--OPTION.help CLASS", "", _OF_CLASSES))
        width = min(100, shutil.get_terminal_size().columns)
        program = " ".join([self.prog.replace(" [options]", ""), *names])
        return help_page(program, self.description, {**sections, "other": told}, width)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with status 2 and a message in plain words, which names the components that there are."""
        if not self.exit_on_error:  # of a class's arguments, which the parser of the option will complain about
            super().error(message, ex)
        parser = getattr(ex, "subcommand_parser", None) or self
        program = parser.prog.replace(" [options]", "")
        print(f"pyvae: error: {complaint(message, parser, parser.components)}", file=sys.stderr)
        print(f"options and their meaning: {program} --help", file=sys.stderr)
        sys.exit(2)


def given_options(parser: Parser, arguments: Sequence[str]) -> set[str]:
    """The names of the options that words and the YAML files that they name give; those of classes with dots.

    Raises:
        ArgumentError: if a file has unknown keys, of which jsonargparse does not say which they are.
    """
    words = [word for argument in arguments for word in argument.split("=", 1)]
    given = {argument.partition("=")[0].removeprefix("--") for argument in arguments if argument.startswith("--")}
    for path in (words[i + 1] for i, word in enumerate(words[:-1]) if word == "--config"):
        try:
            content = yaml.safe_load(Path(path).read_text())
        except (OSError, ValueError, yaml.YAMLError):
            continue  # the parser's own message says it
        if not isinstance(content, dict):
            continue
        known = {key.split(".")[0] for key in parser.get_defaults().keys()}  # noqa: SIM118 (it is no dict)
        unknown = sorted(str(k) for k in content if k not in known)
        if unknown:
            hint = did_you_mean(unknown[0], known)
            raise ArgumentError(f"{path} sets {', '.join(unknown)}{hint}; the options are {', '.join(sorted(known))}")
        given |= _paths(content)
    return given


def _paths(content: dict[str, Any], start: str = "") -> set[str]:
    """The keys of nested dicts, joined by dots."""
    nested = (_paths(value, f"{start}{key}.") for key, value in content.items() if isinstance(value, dict))
    return {f"{start}{key}" for key in content}.union(*nested)


def parameters_of(function: Callable[..., object], skip: Collection[str] = ()) -> list[str]:
    """The names of a function's parameters, but those to skip."""
    return [name for name in inspect.signature(function).parameters if name not in skip]


def add_signature(
    parser: Parser, function: Callable[..., object], skip: Collection[str] = (), section: str = "options"
) -> None:
    """Give a parser the parameters of a function or a dataclass, under this title of its help.

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
    for name in parameters_of(function, skip):
        description = plain_text(help_of.get(name) or "")
        parser.sections.setdefault(section, []).append((parameters[name], description))
        components = _components(parameters[name])
        parser.components[name] = sorted({c.__name__ for c in components})
        parser.lists |= _lists(f"--{name}", parameters[name], components)


def _bracketed(value: str) -> str:
    return f"[{value}]" if re.fullmatch(rf"{_NUMBER}(,{_NUMBER})*", value) else value


def _takes_numbers(annotation: Any) -> bool:
    """Whether this is the type of a list of numbers, or one of those that it may be."""
    of, parts = get_origin(annotation), get_args(annotation)
    if of in (Union, UnionType):
        return any(map(_takes_numbers, parts))
    return inspect.isclass(of) and issubclass(of, Sequence) and set(parts) - {...} in ({int}, {float}, {int, float})


def _lists(option: str, parameter: inspect.Parameter, components: Collection[type]) -> set[str]:
    """The option, if it takes a list of numbers, and those of its components that do."""
    parts = {f"{option}.{name}" for component in components for name in _list_arguments(component)}
    return parts | ({option} if _takes_numbers(parameter.annotation) else set())


@functools.cache
def _list_arguments(component: type) -> list[str]:
    parameters = inspect.signature(component).parameters
    return [name for name, parameter in parameters.items() if _takes_numbers(parameter.annotation)]


def _components(parameter: inspect.Parameter) -> list[type]:
    """The classes that the parameter's type, or what it makes, has, and that can be named without their path."""
    from torch import nn  # it takes seconds to import, and the help of all commands needs none of it

    found: list[type] = []
    for kind in _kinds(parameter.annotation):
        if kind is nn.Module:
            found += _siblings(parameter.default)
        elif kind.__module__ != "builtins":
            found += [cls for cls in _subclasses(kind) if _exported(cls)]
    return found


def _kinds(annotation: Any) -> list[type]:
    """The classes of a type: of a callable that of its result, of a union those of its members."""
    of, parts = get_origin(annotation), get_args(annotation)
    if of is Callable:
        return _kinds(parts[-1])
    if of in (Union, UnionType):
        return [kind for part in parts for kind in _kinds(part)]
    return [annotation] if inspect.isclass(annotation) and of is None else []


def _subclasses(kind: type) -> set[type]:
    return {cls for child in kind.__subclasses__() for cls in {child} | _subclasses(child)}


def _exported(cls: type) -> bool:
    """Whether the folder of the class gives it under its name."""
    folder = sys.modules.get(cls.__module__.rpartition(".")[0])
    usable = not cls.__name__.startswith(("_", "Jit"))  # fit refuses Pyro's objectives that are compiled by torch.jit
    return usable and getattr(folder, cls.__name__, None) is cls


def _siblings(default: Any) -> list[type]:
    """The networks that can stand for the default: those beside it that are made from the same arguments."""
    if not inspect.isclass(default):
        return []
    # we have one class a file, and export it in the folder; torch has all of a kind in a file
    ours = default.__module__.startswith("pyvae.")
    folder = sys.modules[default.__module__.rpartition(".")[0] if ours else default.__module__]
    classes = [cls for name in folder.__all__ if inspect.isclass(cls := getattr(folder, name))]
    return [cls for cls in classes if _required(cls) == _required(default)]


def _required(cls: type) -> list[str]:
    parameters = inspect.signature(cls).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
