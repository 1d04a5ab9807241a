"""The command ``evaluate``."""

import json

from rich.console import Console
from rich.table import Table
from torch import nn

from pyvae.cli.output import free_output
from pyvae.cli.runs import open_run
from pyvae.core.arguments import check_seed
from pyvae.core.files import write_atomically
from pyvae.datasets import DataSplits
from pyvae.evaluation import Evaluation
from pyvae.evaluation import evaluate as evaluate_pair

__all__ = ["evaluate", "evaluate_test_data", "print_figures"]

_LISTED = 12  # levels of a hierarchy; the many of a diffusion are drawn in the report


def evaluate(run: str, num_particles: int = 100, seed: int = 0, output: str | None = None) -> None:
    """Estimate ELBO and log likelihood on the test data of a run.

    Args:
        run: the run directory.
        num_particles: importance samples per datapoint.
        seed: of the samples.
        output: a .json file for the figures; by default evaluation-1.json, … in run.
    """
    opened = open_run(run)
    path = free_output(opened, "evaluation", ".json", output, (".json",))
    check_seed(seed)
    evaluation = evaluate_test_data(opened.load_pair(), opened.load_data(), num_particles, seed)
    write_atomically(path, (json.dumps(evaluation.record(), indent=2) + "\n").encode())
    print_figures(Console(), evaluation, f"test data of {opened.data['data']}, nats per datapoint")
    print(path)


def evaluate_test_data(pair: nn.Module, data: DataSplits, num_particles: int, seed: int) -> Evaluation:
    """On one draw of the data, the same each time, so that evaluations of a run can be compared."""
    return evaluate_pair(pair, data.test.fixed(), num_particles, seed)


def print_figures(console: Console, evaluation: Evaluation, title: str) -> None:
    """Show the figures of an evaluation as a table."""
    heads = ("figure", "value", "Monte Carlo error", "test-set sampling error")
    caption = f"bits: of {evaluation.bits_of}; nats: of x as the pair is given it"
    table = Table(*heads, title=title, title_justify="left", caption=caption, caption_justify="left")
    figures = evaluation.figures()
    bounds = {"elbo": evaluation.elbo, "log_likelihood": evaluation.log_likelihood}
    for name, bound in bounds.items():
        if bound is not None:
            table.add_row(name, f"{bound.value:.3f}", bound.error_text(), f"{bound.dataset_standard_error:.3f}")
    layers = list(evaluation.elbo.layers) if len(evaluation.elbo.layers) <= _LISTED else []
    codes = [f"{name}_{site}" for site in evaluation.codes for name in evaluation.of_codes(site)]
    for name in ("reconstruction", "kl", *layers, *codes, "bits_per_dimension"):
        table.add_row(name, f"{figures[name]:z.3f}", "", "")
    if (labels := evaluation.classification) is not None:
        table.add_row("accuracy", f"{labels.accuracy:.3f}", "", f"{labels.standard_error:.3f}")
    console.print(table)
    if evaluation.best.caution:
        console.print(f"log_likelihood: {evaluation.best.caution}")
