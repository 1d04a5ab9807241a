"""What the command line does to train a pair."""

import warnings
from typing import Any

import torch
from rich.console import Console
from torch import nn

from pyvae import recipes
from pyvae.batches import batches_for
from pyvae.checkpoint import save
from pyvae.checks import check_int, check_seed
from pyvae.commands import evaluate_test_data, print_figures
from pyvae.datasets import InMemory, LabelledData
from pyvae.errors import ArgumentError
from pyvae.fit import fit
from pyvae.inspection import check_data, inspect_pair
from pyvae.isolation import derive_seed, preserved_streams
from pyvae.key_figures import all_warnings
from pyvae.loading import build
from pyvae.processes import Processes
from pyvae.report import write_report
from pyvae.runs import Run, discard_run, start_run

__all__ = ["run_options", "train", "usable_device"]

_INITIALIZATION = (0, 1)  # streams of the seed; those of the epochs are (1), (2), …
_TEST = (0, 2)


def train(
    run: Run, data: LabelledData, arguments: dict[str, Any], options: dict[str, Any], processes: Processes
) -> None:
    """Train the pair of a run, evaluate it on the test data, and leave pictures and a report.

    Args:
        run: the run, not yet on disk.
        data: its data, with labels if there are any.
        arguments: of :func:`pyvae.fit`.
        options: of :func:`run_options`.
        processes: those that train the pair; the first one evaluates it.
    """
    device, seed = usable_device(options["device"]), arguments["seed"]
    classes = data.test.tensors[1] if data.num_classes else None
    data = data if run.conditional else data.without_labels()
    check_seed(seed)
    check_int("evaluation_particles", options["evaluation_particles"])
    training, held_out = data.hold_out(options["validation"])
    with preserved_streams(derive_seed(seed, *_INITIALIZATION)):
        pair = build(run.recipe, run.arguments).to(device)
    check_test_data(pair, data.test)
    made = processes.by_first(lambda: start_run(run, options["resume"]))
    told = Console(stderr=True, highlight=False, markup=False, soft_wrap=True, quiet=processes.rank > 0)
    told.print(f"run directory: {run.directory}")
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("default")
        try:
            result = fit(
                getattr(recipes, run.recipe).trains(pair),
                training.train,
                validation=held_out,
                checkpoint_dir=run.directory,
                resume=options["resume"],
                **arguments,
            )
        except BaseException:
            if processes.rank == 0:
                discard_run(run, made)
            raise
    if processes.rank:
        return
    run.write_record()  # a resumed run may have more epochs now
    told.print(f"trained: {result}; evaluating {len(data.test)} test data")
    save(run.directory / "model.safetensors", pair)
    evaluation = evaluate_test_data(pair, data, options["evaluation_particles"], derive_seed(seed, *_TEST))
    run.write("evaluation.json", evaluation.figures())
    ours = all_warnings(evaluation, [str(w.message) for w in noticed if issubclass(w.category, UserWarning)])
    page = write_report(run, pair, data, classes, result.history, evaluation, ours)
    console = Console()
    print_figures(console, evaluation, f"{run.recipe} on the test data of {data.name}, nats per datapoint")
    for warning in ours:
        console.print(f"warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    console.print(f"open {page}", highlight=False, markup=False, soft_wrap=True)


def run_options(
    run_dir: str | None = None,
    resume: bool = False,
    validation: float = 0.1,
    evaluation_particles: int = 100,
    device: str = "cpu",
) -> None:
    """Where and how to run.

    Args:
        run_dir: where everything goes; by default the first free one of runs/RECIPE-1, runs/RECIPE-2, …
        resume: go on with the run in run_dir.
        validation: the part of the training data that is held out to choose the best epoch; 0 for none.
        evaluation_particles: importance samples per test datum.
        device: where to compute, such as cpu or cuda.
    """


def check_test_data(pair: nn.Module, test: InMemory) -> None:
    """Try the pair on the most extreme of the test data, so that a long training does not end in an error.

    Raises:
        DataError: if they lie outside of the support of the likelihood.
    """
    with preserved_streams(0):
        check_data(inspect_pair(pair, batches_for(pair, test, 8, "the test data").extremes()))


def usable_device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        ArgumentError: if there is none, or it cannot be used.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device
