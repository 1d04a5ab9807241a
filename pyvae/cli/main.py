"""The command line: ``pyvae fit RECIPE``, ``sample``, ``traverse``, ``evaluate``, … on what it leaves behind."""

import inspect
import json
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from pyvae.cli.allocator import keep_memory
from pyvae.cli.options import FROM_DATA, FROM_RUN, RunOptions, in_options
from pyvae.cli.outline import Listed, listed
from pyvae.cli.parser import Parser, add_signature, check_config, parameters_of, underscored
from pyvae.errors import NonFiniteError, PyvaeError

__all__ = ["main"]

_FIT = "Train the pair of a recipe; leaves a run directory with pictures and report.html."


def _recipe_parser(listed_recipe: Listed) -> Parser:
    from pyvae.cli.data import load_data
    from pyvae.training.fit import fit

    recipe = listed_recipe.load()
    parser = Parser(description=inspect.getdoc(recipe).split("\n\n")[0])
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    add_signature(parser, recipe, FROM_DATA)
    add_signature(parser, load_data)
    add_signature(parser, RunOptions)
    add_signature(parser, fit, FROM_RUN)
    parser.set_defaults({"seed": 0, "epochs": 100, **recipe.training})
    return parser


def _command_parser(command: Listed, called: bool) -> Parser:
    parser = Parser(description=command.summary)
    if called:
        add_signature(parser, command.load())
    return parser


def _parsers(words: Sequence[str]) -> tuple[Parser, dict[str, Parser]]:
    """The parser of everything, and those of the recipes by name.

    Only what the words name is imported, and has its options: to import everything takes seconds.
    """
    parser = Parser(
        prog="pyvae", version=version("pyro-vae"), description="Variational auto-encoders as Pyro model/guide pairs."
    )
    subcommands = parser.add_subcommands(dest="command")
    fitting = Parser(description=_FIT)
    subcommands.add_subcommand("fit", fitting, help="train the pair of a recipe")
    choices = fitting.add_subcommands(dest="recipe")
    made = {n: _recipe_parser(r) if n in words else Parser() for n, r in listed("pyvae.recipes").items()}
    for name, recipe in listed("pyvae.recipes").items():
        choices.add_subcommand(name, made[name], help=recipe.summary)
    for name, command in listed("pyvae.cli.commands").items():
        subcommands.add_subcommand(name, _command_parser(command, name in words), help=command.summary)
    return parser, made


def _run(words: Sequence[str]) -> None:
    """Do what the words say."""
    parser, recipe_parsers = _parsers(words)
    if words[:1] == ["fit"] and words[1:2] and words[1] in recipe_parsers:
        check_config(recipe_parsers[words[1]], words)
    settings = parser.parse_args(words)
    chosen = settings[settings.command]
    if settings.command == "fit":
        from pyvae.cli.fit import fit_recipe

        recipe_parser, options = recipe_parsers[chosen.recipe], chosen[chosen.recipe]
        plain = json.loads(recipe_parser.dump(options, format="json", skip_unset=False))
        fit_recipe(chosen.recipe, plain, recipe_parser.instantiate(options))
    else:
        function = listed("pyvae.cli.commands")[settings.command].load()
        function(**{name: chosen[name] for name in parameters_of(function)})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: the words after ``pyvae``; by default those of the process.

    Returns:
        0; 2 after a user's mistake, which is reported on standard error; 1 if nobody reads the output to its end.
    """
    keep_memory()
    # a CUDA build of torch on a machine without a GPU says so when it compiles; the run says what it computes on
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    words = underscored(list(sys.argv[1:] if arguments is None else arguments))
    try:
        _run(words)
    except PyvaeError as error:
        message = in_options(str(error)) if isinstance(error, NonFiniteError) else error
        print(f"pyvae: error: {message}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads the output, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1  # as rich, which prints tables, has it
    except KeyboardInterrupt:
        print("pyvae: interrupted; go on with the same command and --run-dir, --resume", file=sys.stderr)
        return 130
    return 0
