"""The command line: ``pyvae fit RECIPE``, ``sample``, ``traverse``, ``evaluate``, … on what it leaves behind."""

import inspect
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from pyvae.cli.allocator import keep_memory
from pyvae.cli.options import FROM_DATA, FROM_RUN, RunOptions, in_options
from pyvae.cli.outline import listed
from pyvae.cli.parser import Parser, add_signature, given_options, parameters_of
from pyvae.cli.words import named_modules, run_to_resume, underscored
from pyvae.errors import NonFiniteError, PyvaeError

__all__ = ["main"]

_FIT = "Train the pair of a recipe; leaves a run directory with pictures and report.html."


_TRUST = "a module of yours, whose recipe or classes the run may use; it is imported"


def recipe_parser(name: str, recipe: Callable[..., object]) -> Parser:
    """The parser of ``pyvae fit`` with this recipe."""
    from pyvae.cli.data import load_data
    from pyvae.cli.shorthands import Shorthands
    from pyvae.training.fit import fit

    parser = Parser(prog=f"pyvae fit {name}", description=(inspect.getdoc(recipe) or "").split("\n\n")[0])
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    add_signature(parser, recipe, FROM_DATA, f"options of {name}")
    add_signature(parser, load_data, section="data")
    add_signature(parser, Shorthands, section="training")
    add_signature(parser, fit, FROM_RUN, "training")
    add_signature(parser, RunOptions, section="the run")
    parser.add_argument("--trust", metavar="MODULE", help=_TRUST)
    parser.set_defaults({"seed": 0, "epochs": 100, **recipe.training})
    return parser


def command_parser(words: Sequence[str]) -> Parser:
    """The parser of everything but recipes, whose names it knows.

    Only what the words name is imported, and has its options: to import everything takes seconds.
    """
    parser = Parser(
        prog="pyvae", version=version("pyro-vae"), description="Variational auto-encoders as Pyro model/guide pairs."
    )
    subcommands = parser.add_subcommands(dest="command")
    fitting = Parser(description=_FIT)
    subcommands.add_subcommand("fit", fitting, help="train the pair of a recipe")
    choices = fitting.add_subcommands(dest="recipe")
    for name, recipe in listed("pyvae.recipes").items():
        choices.add_subcommand(name, Parser(), help=recipe.summary)
    for name, command in listed("pyvae.cli.commands").items():
        made = Parser(description=command.summary)
        if name in words:
            add_signature(made, command.load())
            made.add_argument("--trust", metavar="MODULE", help=_TRUST)
        subcommands.add_subcommand(name, made, help=command.summary)
    return parser


def _fit(name: str, words: Sequence[str], recorded: Mapping[str, Any] | None) -> None:
    """Do what ``fit`` and the name of a recipe and these words say.

    Args:
        name: of the recipe.
        words: all that follow.
        recorded: the options of the run that goes on, if one does.
    """
    from pyvae.cli.shorthands import expanded
    from pyvae.recipes.loading import find_recipe

    parser = recipe_parser(name, find_recipe(name))
    known = parser.get_defaults().as_dict()
    parser.set_defaults({n: v for n, v in (recorded or {}).items() if n in known})  # older runs may have had others
    given = given_options(parser, words)
    options = expanded(parser, parser.parse_args(words), given)

    from pyvae.cli.fit import fit_recipe  # it imports what draws and evaluates, for which no help should wait

    plain = json.loads(parser.dump(options, format="json", skip_unset=False))
    fit_recipe(name, plain, parser.instantiate(options), changed=recorded is not None)


def _run(words: Sequence[str]) -> None:
    """Do what the words say."""
    recorded = None
    run, others = run_to_resume(words) if words[:1] == ["fit"] else (None, words)
    if run is not None:
        from pyvae.cli.resumption import options_of_run, resuming_words
        from pyvae.cli.runs import open_run

        opened = open_run(run)
        words, recorded = resuming_words(run, opened.recipe, others), options_of_run(opened, others)
    if words[:1] == ["fit"] and words[1:2] and (words[1] in listed("pyvae.recipes") or ":" in words[1]):
        _fit(words[1], words[2:], recorded)
        return
    settings = command_parser(words).parse_args(words)
    function = listed("pyvae.cli.commands")[settings.command].load()
    function(**{name: settings[settings.command][name] for name in parameters_of(function)})


@contextmanager
def _own_code(modules: Collection[str]) -> Iterator[None]:
    """Modules of the current directory can be imported, last of all, and records may name those that the user has."""
    folder = os.getcwd()
    sys.path.append(folder)
    try:
        if not modules:
            yield
            return
        from pyvae.recipes.own_code import named_code

        with named_code(modules):
            yield
    finally:
        sys.path.remove(folder)


def _show(message: Warning | str, *where: object, **more: object) -> None:
    """Tell a warning without the line of the program that it comes from."""
    print(f"warning: {message}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: the words after ``pyvae``; by default those of the process.

    Returns:
        0; 2 after a user's mistake, which is reported on standard error; 130 after Ctrl-C; 1 if nobody reads the output
        to its end.
    """
    keep_memory()
    # a CUDA build of torch on a machine without a GPU says so when it compiles; the run says what it computes on
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    modules, words = named_modules(underscored(list(sys.argv[1:] if arguments is None else arguments)))
    try:
        with _own_code(modules), warnings.catch_warnings():
            warnings.showwarning = _show
            _run(words)
    except PyvaeError as error:
        message = in_options(str(error)) if isinstance(error, NonFiniteError) else error
        print(f"pyvae: error: {message}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads the output, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1  # as rich, which prints tables, has it
    except KeyboardInterrupt as stop:
        print(f"pyvae: interrupted{f'; {stop}' if stop.args else ''}", file=sys.stderr)
        return 130
    return 0
