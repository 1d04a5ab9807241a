"""The command ``fit``."""

import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from pyvae.batching.batches import batches_for, inspect_data
from pyvae.checkpoint import save
from pyvae.cli.choices import chosen_by_data
from pyvae.cli.evaluate import evaluate_test_data, print_figures
from pyvae.cli.key_figures import all_warnings
from pyvae.cli.options import CLASSES, FROM_RUN, RunOptions
from pyvae.cli.parser import parameters_of
from pyvae.cli.report import write_report
from pyvae.cli.report_sections.trained import Trained
from pyvae.cli.runs import Run, free_path, versions
from pyvae.cli.starting import discard_start, start_run
from pyvae.core.arguments import check_int, check_seed
from pyvae.core.random_streams import derive_seed, isolated_rng
from pyvae.datasets import DataSplits, InMemory
from pyvae.errors import ArgumentError
from pyvae.recipes.loading import build, find_recipe
from pyvae.recipes.own_code import code_of, modules_of, named_code
from pyvae.training.fit import fit
from pyvae.training.processes import Processes, processes_on

__all__ = ["fit_recipe"]

_INITIALIZATION = (0, 1)  # streams of the seed; those of the epochs are (1), (2), …
_TEST = (0, 2)


def fit_recipe(name: str, plain: Mapping[str, Any], made: Mapping[str, Any], changed: bool = False) -> None:
    """Load the data, complete the recipe's arguments from them, and train.

    Args:
        name: of the recipe.
        plain: all options of the command line, as JSON.
        made: the same, with the objects that they describe.
        changed: whether they are those of a run that goes on, but for what is to be changed.
    """
    chosen = chosen_by_data(name, find_recipe(name), plain)
    options = RunOptions(**{n: plain[n] for n in parameters_of(RunOptions)})
    training = parameters_of(fit, FROM_RUN)
    if options.resume and not options.run_dir:
        raise ArgumentError("--resume needs a run: pyvae fit --resume RUN, or the whole command again with --run-dir")
    processes = processes_on(usable_device(options.device))
    run = Run(
        directory=Path(
            options.run_dir or processes.by_first(lambda: free_path(Path("runs"), name.rpartition(":")[2], ""))
        ),
        recipe=name,
        arguments=chosen.arguments,
        data=chosen.given,
        training={n: plain[n] for n in [*training, "validation", "evaluation_particles", "device"]},
        preprocessing=list(chosen.data.preprocessing),
        versions=versions(),
        code=code_of(name, {**chosen.arguments, **{n: plain[n] for n in CLASSES}}),
    )
    if chosen.note and not processes.rank:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(chosen.note)
    with named_code(modules_of(chosen.arguments)):  # which the user has named, or they would not have come so far
        train(run, chosen.data, {n: made[n] for n in training}, options, processes, changed)


def train(
    run: Run,
    data: DataSplits,
    arguments: Mapping[str, Any],
    options: RunOptions,
    processes: Processes,
    changed: bool,
) -> None:
    """Train the pair of a run, evaluate it on the test data, and leave pictures and a report.

    Args:
        run: the run, not yet on disk.
        data: its data, with labels if there are any.
        arguments: of :func:`pyvae.fit`.
        options: where and how.
        processes: those that train the pair; the first one evaluates it.
        changed: whether a run goes on with what is changed.
    """
    device, seed = usable_device(options.device), arguments["seed"]
    classes = data.test.tensors[1] if data.num_classes else None
    data = data if run.conditional else data.without_labels()
    check_seed(seed)
    check_int("evaluation_particles", options.evaluation_particles)
    training, held_out = data.hold_out(options.validation)
    with isolated_rng(derive_seed(seed, *_INITIALIZATION)):
        pair = build(run.recipe, run.arguments).to(device)
    check_test_data(pair, data.test)
    start = processes.by_first(lambda: start_run(run, options.resume, changed))
    told = Console(stderr=True, highlight=False, markup=False, soft_wrap=True, quiet=processes.rank > 0)
    told.print(f"run directory: {run.directory}; computing on {device}")
    if run.conditional and bool(((y := training.train.tensors[1]) < 0).any()):
        told.print(
            f"labels: {int((y >= 0).sum()):,} of {len(y):,} training data have one; --labelled applies to data that "
            "have all"
        )
    if start.record is not None:
        told.print(start.told())
    with _advice_on_interruption(run, processes):
        with warnings.catch_warnings(record=True) as noticed:
            warnings.simplefilter("default")
            try:
                result = fit(
                    find_recipe(run.recipe).trains(pair),
                    training.train,
                    validation=held_out,
                    checkpoint_dir=run.directory,
                    resume="changed" if changed else options.resume,
                    **arguments,
                )
            except Exception:
                if processes.rank == 0:
                    discard_start(start)
                raise
        if result.history and processes.rank == 0:
            told.print(f"trained: {result}; evaluating {len(data.test)} test datapoints")
            evaluation = evaluate_test_data(pair, data, options.evaluation_particles, derive_seed(seed, *_TEST))
            ours = all_warnings(evaluation, [str(w.message) for w in noticed if issubclass(w.category, UserWarning)])
            _leave(Trained(start.run, pair, data, classes, result.history, evaluation), ours)
        if result.interrupted:
            raise KeyboardInterrupt


@contextmanager
def _advice_on_interruption(run: Run, processes: Processes) -> Iterator[None]:
    """A KeyboardInterrupt in this block says how to go on with the run."""
    try:
        yield
    except KeyboardInterrupt:
        words = ["pyvae", "fit", "--resume", str(run.directory), *(["--trust", ",".join(run.code)] if run.code else [])]
        start = "torchrun … -m " if processes.count > 1 else ""
        raise KeyboardInterrupt(f"go on with: {start}{shlex.join(words)}") from None


def _leave(trained: Trained, noticed: Sequence[str]) -> None:
    """Write what a run leaves behind: weights, figures, pictures and a report; and say what it is."""
    run, evaluation = trained.run, trained.evaluation
    save(run.directory / "model.safetensors", trained.pair)
    run.write("evaluation.json", evaluation.record())
    page = write_report(trained, noticed)
    console = Console()
    print_figures(console, evaluation, f"{run.recipe} on the test data of {trained.data.name}, nats per datapoint")
    for warning in noticed:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    console.print(f"open {page}", highlight=False, markup=False, soft_wrap=True)


def check_test_data(pair: nn.Module, test: InMemory) -> None:
    """Try the pair on the most extreme of the test data, so that a long training does not end in an error.

    Raises:
        DataError: if they lie outside of the support of the likelihood.
    """
    with isolated_rng(0):
        inspect_data(pair, batches_for(pair, test, 8, "the test data"))


def usable_device(name: str) -> torch.device:
    """The device of this name, or for "auto" the accelerator if there is one, else the CPU.

    Raises:
        ArgumentError: if there is none, or it cannot be used.
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device
