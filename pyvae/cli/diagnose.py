"""The command ``pyvae diagnose``."""

import json
import math

import torch
from rich.console import Console

from pyvae.cli.output import free_output
from pyvae.cli.runs import open_run
from pyvae.core.arguments import check_int, check_seed
from pyvae.core.files import write_atomically
from pyvae.diagnostics import Diagnosis
from pyvae.diagnostics import diagnose as diagnose_pair
from pyvae.errors import ArgumentError
from pyvae.evaluation.arviz_bridge import FEWEST_DRAWS

__all__ = ["diagnose"]


def diagnose(
    run: str, num_particles: int = 200, count: int | None = None, seed: int = 0, output: str | None = None
) -> None:
    """Tell whether the posterior of a run can be trusted, on its test data: a table, and a page with pictures.

    Args:
        run: the run directory.
        num_particles: importance samples per datapoint.
        count: how many of the test data, the first ones; by default all.
        seed: of the samples.
        output: a .html for the page or a .json for the figures; by default diagnosis-1.html, … in run.
    """
    opened = open_run(run)
    path = free_output(opened, "diagnosis", ".html", output, (".html", ".json"))
    check_int("num_particles", num_particles, FEWEST_DRAWS)
    check_seed(seed)
    data, pair = opened.load_data(), opened.load_pair()
    if count is not None and not 1 <= count <= len(data.test):
        raise ArgumentError(f"count is {count}; expected 1 to {len(data.test)}, the number of test data")
    test = data.test.rows(torch.arange(count or len(data.test))).fixed()
    diagnosis = diagnose_pair(pair, test, num_particles, seed)
    title = f"Can it be trusted? {opened.recipe} on {data.name}"
    subtitle = f"{len(test):,} test datapoints, {num_particles:,} draws of the guide for each"
    content = diagnosis.to_html(title, subtitle) if path.suffix == ".html" else _figures(diagnosis)
    write_atomically(path, content.encode())
    Console(soft_wrap=True).print(str(diagnosis), markup=False, highlight=False)
    print(path)


def _figures(diagnosis: Diagnosis) -> str:
    """The figures as JSON, which knows neither NaN nor infinity."""
    records = diagnosis.to_dataframe().reset_index().to_dict("records")
    plain = [
        {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        for record in records
    ]
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
