"""What a parser has to complain about, in plain words."""

import argparse
import difflib
import re
from collections.abc import Collection, Iterable

from jsonargparse import ArgumentParser

__all__ = ["complaint", "did_you_mean"]

_EXPECTED = {
    "<class 'int'>": "an int",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "a text",
    "<class 'list'>": "a list such as 8,16",
    "<class 'collections.abc.Mapping'>": "a mapping",
    "<class 'NoneType'>": "null",
}
_CLASS = "the path of a class"


def complaint(message: str, parser: ArgumentParser, components: dict[str, list[str]]) -> str:
    """A message of jsonargparse in plain words: the option at fault, what came and what was expected.

    Args:
        message: of jsonargparse.
        parser: that found the fault.
        components: by option, the names of the components that it takes.
    """
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    if keys:
        return _of_value(message, keys, components)
    for pattern, words in _WORDS.items():
        if found := re.fullmatch(pattern, message.strip(), re.S):
            return words(found, parser)
    return " ".join(message.split())


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """A question, if one of the names is almost the word; else nothing.

    Example:
        >>> did_you_mean("gausian", ["burda", "gaussian"])
        ' (did you mean gaussian?)'
    """
    known = {name.lower().lstrip("-"): name for name in names}
    near = difflib.get_close_matches(word.lower().lstrip("-"), known, n=1, cutoff=0.7)
    return f" (did you mean {known[near[0]]}?)" if near else ""


def _of_value(message: str, keys: list[str], components: dict[str, list[str]]) -> str:
    """What is wrong with the value of an option, whose name has a part for every class that it is an argument of."""
    path = list(dict.fromkeys(keys))
    option = "--" + ".".join(path).replace("_", "-")
    rest = message.rpartition(f'Parser key "{keys[-1]}"')[2]
    if unknown := re.search(r"Option '([\w.]+)' is not accepted", rest):
        kind = re.search(r"class_path='([\w.]+)'", message)
        return f"there is no option {option}.{unknown[1]}" + (f": {kind[1]} does not take it" if kind else "")
    if not re.search("Expected|Got value|Given value", rest):
        return f"{option}: {' '.join(rest.strip(': ').split())}"
    value = _given(rest)
    names = components.get(path[0], []) if len(path) == 1 else []
    wanted = [_in_words(e) for e in re.findall(r"Expected a (.+?)(?:\. Got value.*|: \S*)?(?:\n|$)", rest)]
    numbers = {"a number", "an int"} & set(wanted) and not value[:1].isupper()
    wanted = [e for e in dict.fromkeys(wanted) if e != "null" and not (e == _CLASS and (names or numbers))]
    if kind := re.search(r"to be a (?:subclass|function)[^<]*<class '(\w+)'>", rest):
        wanted += [] if names else [f"what makes one of class {kind[1]}"]
    if names:
        wanted.append(f"one of {', '.join(names)}, or the path of a class of yours such as my_module.MyClass")
    missing = re.search(r"No module named '[\w.]+'|module '[\w.]+' has no attribute '\w+'", rest)
    reason = f" ({missing[0]})" if missing else ""
    choices = [
        choice for literal in re.findall(r"Literal\[(.*?)\]", rest) for choice in re.findall(r"'(.+?)'", literal)
    ]
    hint = did_you_mean(value.rpartition(".")[2], [*names, *choices]) or (_path_of(value) if _CLASS in wanted else "")
    return f"{option} is {value}{reason}; expected {' or '.join(wanted) or 'another value'}{hint}"


def _path_of(name: str) -> str:
    """A question, if this is a weight that is a function of the epoch, without its path."""
    from pyvae import objectives  # slow to import

    return f" (did you mean pyvae.objectives.{name}?)" if name in objectives.__all__ else ""


def _given(text: str) -> str:
    """The value that came."""
    found = re.search(r"import path string: (\S+)|(?:Got|Given) value: (.*?)(?:\. Got value|\n|$)", text)
    value = (found[1] or found[2]).strip() if found else "not usable"
    described = re.match(r"Namespace\(class_path='([\w.]+)'", value)
    return described[1] if described else value or "''"


def _in_words(expected: str) -> str:
    """What was expected, without Python's names for it."""
    if choices := re.fullmatch(r"typing\.Literal\[(.*)\]", expected):
        return f"one of {choices[1]}".replace("'", "")
    return _CLASS if expected.startswith("dot import path") else _EXPECTED.get(expected, expected)


def _choices(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    """The subcommands of a parser."""
    return next(a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))


def _options(parser: ArgumentParser) -> Collection[str]:
    return [s.replace("_", "-") for action in parser._actions for s in action.option_strings if s[:2] == "--"]


def _unknown_choice(found: re.Match, parser: ArgumentParser) -> str:
    names = re.findall(r"'(\w+)'", found[3])
    return f"there is no {found[1]} {found[2]}{did_you_mean(found[2], names)}; expected one of {', '.join(names)}"


def _missing_choice(found: re.Match, parser: ArgumentParser) -> str:
    *commands, kind = found[1].split(".")
    for command in commands:
        parser = _choices(parser)[command]
    return f"no {kind} was given; expected one of {', '.join(_choices(parser))}"


def _unknown_option(found: re.Match, parser: ArgumentParser) -> str:
    word = found[1].split()[0].partition("=")[0].replace("_", "-")
    if not word.startswith("-"):
        return f"unexpected word {word}: options begin with --, and lists have commas and no blanks"
    return f"there is no option {word}{did_you_mean(word, _options(parser))}"


_WORDS = {
    r"argument (\w+): invalid choice: '(.*?)' \(choose from (.*)\)": _unknown_choice,
    r'expected "([\w.]+)" to be one of \{(.*)\}, but it was not provided\.': _missing_choice,
    r"unrecognized arguments: (.*)": _unknown_option,
    r"argument (\S+): expected one argument": lambda found, _: f"{found[1].replace('_', '-')} expected a value",
    r"argument (\S+): ignored explicit argument '(.*)'": lambda found, _: (
        f"{found[1].split('/')[0]} is a switch and takes no value, but was given {found[2]}"
    ),
    r"the following arguments are required: (.*)": lambda found, _: (
        f"missing: {', '.join(n.rpartition('.')[2].upper() for n in found[1].split(', '))}"
    ),
}
