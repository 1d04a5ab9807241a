"""What the command line does, as typed functions."""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pyvae.batches import as_batches
from pyvae.checkpoint import save, write_atomically
from pyvae.checks import check_int, check_seed
from pyvae.datasets import InMemory, LabelledData
from pyvae.diagnostics import Evaluation
from pyvae.diagnostics import evaluate as evaluate_pair
from pyvae.errors import ArgumentError, DataError
from pyvae.fit import fit
from pyvae.inspection import check_data, device_of, inspect_pair
from pyvae.isolation import derive_seed, preserved_streams
from pyvae.loading import build
from pyvae.pictures import save_picture
from pyvae.processes import Processes
from pyvae.report import all_warnings, draw_reconstructions, draw_samples, write_report
from pyvae.runs import Run, discard_run, free_path, open_run, start_run
from pyvae.views import generate
from pyvae.views import reconstruct as reconstruct_data

__all__ = ["evaluate", "reconstruct", "sample", "train"]

_INITIALIZATION = (0, 1)  # streams of the seed; those of the epochs are (1), (2), …
_TEST = (0, 2)
_DRAWN = (".png", ".npy")


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
    device, seed = _device(options["device"]), arguments["seed"]
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
                pair,
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
    evaluation = _evaluate(pair, data, options["evaluation_particles"], derive_seed(seed, *_TEST))
    run.write("evaluation.json", evaluation.figures())
    ours = all_warnings(evaluation, [str(w.message) for w in noticed if issubclass(w.category, UserWarning)])
    page = write_report(run, pair, data, classes, result.history, evaluation, ours)
    console = Console()
    _print_figures(console, evaluation, f"{run.recipe} on the test data of {data.name}, nats per datapoint")
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


def sample(
    run: str,
    count: int = 100,
    labels: list[int] | None = None,
    draw: bool = False,
    seed: int = 0,
    output: str | None = None,
) -> None:
    """Generate data from the prior of a run's pair.

    Args:
        run: the run directory.
        count: how many.
        labels: the classes to generate, of a conditional pair; by default all.
        draw: draw x from p(x | z) instead of taking its mean.
        seed: of the draws.
        output: a .png for a picture or a .npy for the numbers; by default samples-1.png, … in run.
    """
    opened = open_run(run)
    path = _free_output(opened, "samples", ".png", output, _DRAWN)
    check_int("count", count)
    check_seed(seed)
    if labels is not None and not opened.conditional:
        raise ArgumentError(f"the pair of {run} takes no labels; it is unconditional")
    y = None
    if opened.conditional:
        classes = list(range(opened.arguments["num_classes"])) if labels is None else labels
        _check_labels(classes, opened)
        y = torch.tensor(classes)[torch.arange(count) * len(classes) // count]  # as evenly as can be
    x = opened.original_units(generate(opened.load_pair(), count, y, seed, mean=not draw))
    _write(path, x, lambda: draw_samples(x, y))


def reconstruct(run: str, count: int = 10, as_label: int | None = None, output: str | None = None) -> None:
    """Pass test data through the latents of a run's pair and back.

    Args:
        run: the run directory.
        count: how many of the test data.
        as_label: decode with this class instead of the datum's own: its style, another class.
        output: a .png for a picture or a .npy for the numbers; by default reconstructions-1.png, … in run.
    """
    opened = open_run(run)
    path = _free_output(opened, "reconstructions", ".png", output, _DRAWN)
    data, pair = opened.load_data(), opened.load_pair()
    if not 1 <= count <= len(data.test):
        raise ArgumentError(f"count is {count}; expected 1 to {len(data.test)}, the number of test data")
    with preserved_streams(0):
        args = data.test[torch.arange(count)]
    labels = None
    if as_label is not None:
        if not opened.conditional:
            raise ArgumentError(f"the pair of {run} takes no labels; it is unconditional")
        _check_labels([as_label], opened)
        labels = torch.full_like(args[1], as_label)
    x, originals = (opened.original_units(t) for t in (reconstruct_data(pair, args, labels), args[0]))
    name = "decoded" if as_label is None else f"as {as_label}"
    _write(path, x, lambda: draw_reconstructions(x, originals, name))


def evaluate(run: str, num_particles: int = 100, seed: int = 0, output: str | None = None) -> None:
    """Estimate ELBO and log likelihood on the test data of a run.

    Args:
        run: the run directory.
        num_particles: importance samples per datum.
        seed: of the draws.
        output: a .json file for the figures; by default evaluation-1.json, … in run.
    """
    opened = open_run(run)
    path = _free_output(opened, "evaluation", ".json", output, (".json",))
    check_seed(seed)
    evaluation = _evaluate(opened.load_pair(), opened.load_data(), num_particles, seed)
    write_atomically(path, (json.dumps(evaluation.figures(), indent=2) + "\n").encode())
    _print_figures(Console(), evaluation, f"test data of {opened.data['data']}, nats per datapoint")
    print(path)


def check_test_data(pair: nn.Module, test: InMemory) -> None:
    """Try the pair on the most extreme of the test data, so that a long training does not end in an error.

    Raises:
        DataError: if they lie outside of the support of the likelihood.
    """
    with preserved_streams(0):
        check_data(inspect_pair(pair, as_batches(test, 8, device_of(pair), "the test data").extremes()))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def _check_labels(labels: list[int], run: Run) -> None:
    last = run.arguments["num_classes"] - 1
    if not labels or not all(0 <= label <= last for label in labels):
        raise DataError(f"the labels are {labels}; expected some of 0 to {last}")


def _evaluate(pair: nn.Module, data: LabelledData, num_particles: int, seed: int) -> Evaluation:
    """On one draw of the data, the same each time, so that evaluations of a run can be compared."""
    return evaluate_pair(pair, data.test.fixed(), num_particles, seed)


def _print_figures(console: Console, evaluation: Evaluation, title: str) -> None:
    table = Table("figure", "value", "Monte Carlo error", "error of the data", title=title, title_justify="left")
    figures = evaluation.figures()
    for name in ("elbo", "log_likelihood"):
        errors = [f"{figures[f'{name}_{kind}']:.3f}" for kind in ("standard_error", "dataset_standard_error")]
        table.add_row(name, f"{figures[name]:.3f}", *errors)
    for name in ("reconstruction", "kl", "bits_per_dimension"):
        table.add_row(name, f"{figures[name]:.3f}", "", "")
    console.print(table)


def _free_output(run: Run, stem: str, suffix: str, output: str | None, suffixes: tuple[str, ...]) -> Path:
    """Where to write: a file that does not exist, of a kind that can be written.

    Raises:
        ArgumentError: if ``output`` exists already, is of another kind, or its folder does not exist.
    """
    path = free_path(run.directory, stem, suffix) if output is None else Path(output)
    if path.exists():
        raise ArgumentError(f"{path} exists already and is not overwritten: give another --output")
    if path.suffix not in suffixes or not path.parent.is_dir():
        raise ArgumentError(f"cannot write {path}: expected a {' or '.join(suffixes)} file in a folder that exists")
    return path


def _write(path: Path, x: Tensor, draw: Callable[[], Figure]) -> None:
    """Write data as numbers or as a picture, and say where."""
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, x.cpu().numpy())
        write_atomically(path, buffer.getvalue())
    else:
        save_picture(path, draw())
    print(path)
