"""What the command line does with a run, as typed functions."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pyvae.checkpoint import write_atomically
from pyvae.checks import check_int, check_seed
from pyvae.datasets import LabelledData
from pyvae.diagnostics import Evaluation
from pyvae.diagnostics import evaluate as evaluate_pair
from pyvae.errors import ArgumentError, DataError
from pyvae.isolation import preserved_streams
from pyvae.pictures import save_picture
from pyvae.report import draw_reconstructions, draw_samples
from pyvae.runs import Run, free_path, open_run
from pyvae.views import generate
from pyvae.views import reconstruct as reconstruct_data

__all__ = [
    "DRAWN",
    "evaluate",
    "evaluate_test_data",
    "free_output",
    "print_figures",
    "reconstruct",
    "sample",
    "write_data",
]

DRAWN = (".png", ".npy")  # what data are written as
_LISTED = 12  # levels of a hierarchy; the many of a diffusion are drawn in the report


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
    path = free_output(opened, "samples", ".png", output, DRAWN)
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
    write_data(path, x, lambda: draw_samples(x, y))


def reconstruct(run: str, count: int = 10, as_label: int | None = None, output: str | None = None) -> None:
    """Pass test data through the latents of a run's pair and back.

    Args:
        run: the run directory.
        count: how many of the test data.
        as_label: decode with this class instead of the datum's own: its style, another class.
        output: a .png for a picture or a .npy for the numbers; by default reconstructions-1.png, … in run.
    """
    opened = open_run(run)
    path = free_output(opened, "reconstructions", ".png", output, DRAWN)
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
    write_data(path, x, lambda: draw_reconstructions(x, originals, name))


def evaluate(run: str, num_particles: int = 100, seed: int = 0, output: str | None = None) -> None:
    """Estimate ELBO and log likelihood on the test data of a run.

    Args:
        run: the run directory.
        num_particles: importance samples per datum.
        seed: of the draws.
        output: a .json file for the figures; by default evaluation-1.json, … in run.
    """
    opened = open_run(run)
    path = free_output(opened, "evaluation", ".json", output, (".json",))
    check_seed(seed)
    evaluation = evaluate_test_data(opened.load_pair(), opened.load_data(), num_particles, seed)
    write_atomically(path, (json.dumps(evaluation.figures(), indent=2) + "\n").encode())
    print_figures(Console(), evaluation, f"test data of {opened.data['data']}, nats per datapoint")
    print(path)


def _check_labels(labels: list[int], run: Run) -> None:
    last = run.arguments["num_classes"] - 1
    if not labels or not all(0 <= label <= last for label in labels):
        raise DataError(f"the labels are {labels}; expected some of 0 to {last}")


def evaluate_test_data(pair: nn.Module, data: LabelledData, num_particles: int, seed: int) -> Evaluation:
    """On one draw of the data, the same each time, so that evaluations of a run can be compared."""
    return evaluate_pair(pair, data.test.fixed(), num_particles, seed)


def print_figures(console: Console, evaluation: Evaluation, title: str) -> None:
    """Show the figures of an evaluation as a table."""
    table = Table("figure", "value", "Monte Carlo error", "error of the data", title=title, title_justify="left")
    figures = evaluation.figures()
    for name in ("elbo", "log_likelihood"):
        if name not in figures:
            continue
        errors = [f"{figures[f'{name}_{kind}']:.3f}" for kind in ("standard_error", "dataset_standard_error")]
        table.add_row(name, f"{figures[name]:.3f}", *errors)
    layers = list(evaluation.elbo.layers) if len(evaluation.elbo.layers) <= _LISTED else []
    codes = [f"{name}_{site}" for site in evaluation.codes for name in evaluation.of_codes(site)]
    for name in ("reconstruction", "kl", *layers, *codes, "bits_per_dimension"):
        table.add_row(name, f"{figures[name]:.3f}", "", "")
    console.print(table)


def free_output(run: Run, stem: str, suffix: str, output: str | None, suffixes: tuple[str, ...]) -> Path:
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


def write_data(path: Path, x: Tensor, draw: Callable[[], Figure]) -> None:
    """Write data as numbers or as a picture, and say where."""
    if path.suffix == ".npy":
        buffer = io.BytesIO()
        np.save(buffer, x.cpu().numpy())
        write_atomically(path, buffer.getvalue())
    else:
        save_picture(path, draw())
    print(path)
