"""The command line: ``pyvae fit RECIPE``, ``sample``, ``traverse``, ``evaluate``, … on what it leaves behind."""

import inspect
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jsonargparse import Namespace

from pyvae import (
    commands,
    comparing_commands,
    diagnosis_command,
    exploring_commands,
    recipes,
    token_commands,
    train_command,
)
from pyvae.allocator import keep_memory
from pyvae.command_line import Parser, add_signature, check_config, underscored
from pyvae.errors import ArgumentError, DataError, PyvaeError
from pyvae.fit import fit
from pyvae.processes import processes_on
from pyvae.runs import Run, absolute_paths, free_path, load_data, versions

__all__ = ["main"]

_FROM_DATA = {"shape", "num_classes"}
_FROM_RUN = {"pair", "data", "validation", "checkpoint_dir", "resume"}
_ON_RUNS = {
    "sample": commands.sample,
    "reconstruct": commands.reconstruct,
    "evaluate": commands.evaluate,
    "compare": comparing_commands.compare,
    "diagnose": diagnosis_command.diagnose,
    "traverse": exploring_commands.traverse,
    "encode": token_commands.encode,
    "decode": token_commands.decode,
}


def _names(function: Callable[..., object], skip: set[str] = frozenset()) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in skip]


def _recipe_parser(recipe: Callable[..., object]) -> Parser:
    parser = Parser(description=inspect.getdoc(recipe).split("\n\n")[0])
    parser.add_argument("--config", action="config", help="a YAML file with any of these options")
    add_signature(parser, recipe, _FROM_DATA)
    add_signature(parser, load_data)
    add_signature(parser, train_command.run_options)
    add_signature(parser, fit, _FROM_RUN)
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
    for name, function in _ON_RUNS.items():
        summary = inspect.getdoc(function).splitlines()[0]
        subparser = Parser(description=summary)
        add_signature(subparser, function)
        subcommands.add_subcommand(name, subparser, help=summary)
    return parser, made


def _fit(name: str, parser: Parser, settings: Namespace) -> None:
    """Load the data, complete the recipe's arguments from them, and train."""
    plain = json.loads(parser.dump(settings, format="json", skip_unset=False))
    made = parser.instantiate(settings)
    data_arguments = {n: plain[n] for n in _names(load_data)}
    data_arguments |= absolute_paths(data_arguments["data"], data_arguments["data_root"])
    data = load_data(**data_arguments)
    recipe = getattr(recipes, name)
    arguments = {"shape": list(data.shape), **{n: plain[n] for n in _names(recipe, _FROM_DATA)}}
    if "num_classes" in _names(recipe):
        if not data.num_classes:
            raise DataError(f"recipe {name!r} is conditional, but {data.name} has no labels: add y, or use another one")
        arguments["num_classes"] = data.num_classes
    options = {n: plain[n] for n in _names(train_command.run_options)}
    training = _names(fit, _FROM_RUN)
    if options["resume"] and not options["run_dir"]:
        raise ArgumentError("--resume needs the --run-dir of the run to go on with")
    processes = processes_on(train_command.usable_device(options["device"]))
    directory = Path(options["run_dir"] or processes.by_first(lambda: free_path(Path("runs"), name, "")))
    run = Run(
        directory=directory,
        recipe=name,
        arguments=arguments,
        data=data_arguments,
        training={n: plain[n] for n in [*training, "validation", "evaluation_particles", "device"]},
        preprocessing=list(data.preprocessing),
        versions=versions(),
    )
    train_command.train(run, data, {n: made[n] for n in training}, options, processes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line.

    Args:
        arguments: the words after ``pyvae``; by default those of the process.

    Returns:
        0; 2 after a user's mistake, which is told on standard error; 1 if nobody reads the output to its end.
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
            _fit(chosen.recipe, recipe_parsers[chosen.recipe], chosen[chosen.recipe])
        else:
            function = _ON_RUNS[settings.command]
            function(**{name: chosen[name] for name in _names(function)})
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


if __name__ == "__main__":
    sys.exit(main())
