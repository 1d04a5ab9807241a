"""The command line: ``pyvae fit RECIPE``, ``sample``, ``traverse``, ``evaluate``, … on what it leaves behind."""

import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence

from pyvae import recipes
from pyvae.cli import commands
from pyvae.cli.allocator import keep_memory
from pyvae.cli.data import load_data
from pyvae.cli.fit import FROM_DATA, FROM_RUN, RunOptions, fit_recipe
from pyvae.cli.parser import Parser, add_signature, check_config, parameters_of, underscored
from pyvae.cli.runs import versions
from pyvae.errors import PyvaeError
from pyvae.training.fit import fit

__all__ = ["main"]

#: the commands besides ``fit`` by name
COMMANDS = {name: function for name, function in vars(commands).items() if inspect.isfunction(function)}


def _recipe_parser(recipe: Callable[..., object]) -> Parser:
    parser = Parser(description=inspect.getdoc(recipe).split("\n\n")[0])
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    add_signature(parser, recipe, FROM_DATA)
    add_signature(parser, load_data)
    add_signature(parser, RunOptions)
    add_signature(parser, fit, FROM_RUN)
    parser.set_defaults({"seed": 0, "epochs": 100, **recipe.training})
    return parser


def _parsers() -> tuple[Parser, dict[str, Parser]]:
    """The parser of everything, and those of the recipes by name."""
    parser = Parser(
        prog="pyvae", version=versions()["pyro-vae"], description="Variational auto-encoders as Pyro model/guide pairs."
    )
    subcommands = parser.add_subcommands(dest="command")
    fitting = Parser(description="Train the pair of a recipe; leaves a run directory with pictures and report.html.")
    subcommands.add_subcommand("fit", fitting, help="train the pair of a recipe")
    choices = fitting.add_subcommands(dest="recipe")
    made = {name: _recipe_parser(getattr(recipes, name)) for name in recipes.__all__}
    for name, recipe_parser in made.items():
        choices.add_subcommand(name, recipe_parser, help=recipe_parser.description.splitlines()[0])
    for name, function in COMMANDS.items():
        summary = inspect.getdoc(function).splitlines()[0]
        subparser = Parser(description=summary)
        add_signature(subparser, function)
        subcommands.add_subcommand(name, subparser, help=summary)
    return parser, made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: the words after ``pyvae``; by default those of the process.

    Returns:
        0; 2 after a user's mistake, which is reported on standard error; 1 if nobody reads the output to its end.
    """
    keep_memory()
    parser, recipe_parsers = _parsers()
    words = underscored(list(sys.argv[1:] if arguments is None else arguments))
    try:
        if words[:1] == ["fit"] and words[1:2] and words[1] in recipe_parsers:
            check_config(recipe_parsers[words[1]], words)
        settings = parser.parse_args(words)
        chosen = settings[settings.command]
        if settings.command == "fit":
            recipe_parser, options = recipe_parsers[chosen.recipe], chosen[chosen.recipe]
            plain = json.loads(recipe_parser.dump(options, format="json", skip_unset=False))
            fit_recipe(chosen.recipe, plain, recipe_parser.instantiate(options))
        else:
            function = COMMANDS[settings.command]
            function(**{name: chosen[name] for name in parameters_of(function)})
    except PyvaeError as error:
        print(f"pyvae: error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads the output, such as head, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1  # as rich, which prints tables, has it
    except KeyboardInterrupt:
        print("pyvae: interrupted; go on with the same command and --run-dir, --resume", file=sys.stderr)
        return 130
    return 0
