"""The help of a command: its own options first, one after the other, in plain words."""

import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

__all__ = ["Option", "help_page", "option_of", "plain_text"]

_TYPES = {int: "int", float: "number", str: "text", bool: "true or false"}
_INDENT = 28


@dataclass(frozen=True)
class Option:
    """What the help says of an option.

    Attributes:
        name: as it is typed, with its hyphens if it is no positional.
        kind: what it takes; empty for a switch.
        meaning: a sentence.
        default: as it would be typed; empty if there is none.
    """

    name: str
    kind: str
    meaning: str
    default: str = ""

    def lines(self, width: int) -> list[str]:
        """The lines of the help."""
        notes = [self.kind, f"default {self.default}" if self.default else ""]
        note = "; ".join(filter(None, notes))
        text = f"{self.meaning} ({note})" if note else self.meaning
        wrapped = textwrap.wrap(text, width - _INDENT, break_on_hyphens=False)
        start = f"  {self.name}"
        if len(start) > _INDENT - 2:
            return [start, *(" " * _INDENT + line for line in wrapped)]
        return [f"{start:{_INDENT}}{wrapped[0]}", *(" " * _INDENT + line for line in wrapped[1:])]


def help_page(program: str, description: str, sections: dict[str, Sequence[Option]], width: int) -> str:
    """The help as a text.

    Args:
        program: the command, with its positionals.
        description: a sentence or two.
        sections: the options by the titles of their groups.
        width: of a line.
    """
    parts = [f"usage: {program} [options]", "", *textwrap.wrap(plain_text(description), width)]
    for title, options in sections.items():
        if options:
            parts += ["", f"{title}:", *(line for option in options for line in option.lines(width))]
    return "\n".join(parts) + "\n"


def option_of(parameter: inspect.Parameter, description: str, components: Sequence[str], default: Any) -> Option:
    """The option that a parameter of a function becomes."""
    required = parameter.default is parameter.empty
    spelled = parameter.name.upper() if required else f"--{parameter.name.replace('_', '-')}"
    description = description.rstrip(".")
    if parameter.annotation is bool and default:
        return Option(f"--no-{spelled[2:]}", "", f"do not {description}")
    if parameter.annotation is bool:
        return Option(spelled, "", description)
    kind = f"one of {', '.join(components)}" if components else _kind(parameter.annotation)
    return Option(spelled, kind, description, "" if required else _shown(default))


def plain_text(text: str) -> str:
    """The first sentence of a description, without markup.

    Example:
        >>> plain_text("see :func:`pyvae.fit`, as ``seed`` says. More of it.")
        'see fit, as seed says.'
    """
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"\1", " ".join(text.split())).replace("``", "")
    text = re.sub(r"\*(\w[^*]*)\*", r"\1", text)
    return re.split(r"(?<=[^.]\.) (?=[A-Z])", text, maxsplit=1)[0]


def _kind(annotation: Any) -> str:
    """A type in words."""
    of, parts = get_origin(annotation), get_args(annotation)
    if of in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(part) for part in parts if part is not type(None)))
    if of is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if inspect.isclass(of) and issubclass(of, Sequence):
        return f"list of {_kind(parts[0])}"
    return "class" if of is Callable else _TYPES.get(annotation, "class")


def _shown(default: Any) -> str:
    """A default as it would be typed; of a class, the arguments that are not its own defaults."""
    if isinstance(default, dict) and "class_path" in default:
        module, _, name = default["class_path"].rpartition(".")
        usual = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        given = (default.get("init_args") or {}).items()
        told = [f"{n} {_shown(v)}" for n, v in given if not isinstance(v, bool) and not _is_usual(v, usual.get(n))]
        return name + (f" with {', '.join(told)}" if told else "")
    if isinstance(default, list | tuple):
        return ",".join(map(str, default))
    return "" if default is None else str(default)


def _is_usual(value: Any, parameter: inspect.Parameter | None) -> bool:
    """Whether this is a parameter's own default; of sequences, JSON makes lists."""
    usual = parameter.default if parameter else None
    return tuple(value) == usual if isinstance(usual, tuple) and isinstance(value, list | tuple) else value == usual
