"""The command that compares several runs."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pyvae.cli.output import free_output
from pyvae.cli.runs import Run, open_run
from pyvae.core.arguments import check_seed
from pyvae.core.files import write_atomically
from pyvae.diagnostics import Comparison
from pyvae.diagnostics import compare as compare_pairs
from pyvae.errors import ArgumentError, DataError

__all__ = ["compare"]

_IMMATERIAL = ("data_root", "download")  # of the arguments of the data


def compare(runs: list[str], num_particles: int = 100, seed: int = 0, output: str | None = None) -> None:
    """Rank runs by the log likelihood of the same test data, with errors of the paired differences.

    Args:
        runs: two or more run directories, of the same data and preprocessing.
        num_particles: importance samples per datapoint.
        seed: of the samples.
        output: a .json file for the figures; by default comparison-1.json, … in the first of the runs.
    """
    opened = {name: open_run(run) for name, run in _names(runs).items()}
    first = next(iter(opened.values()))
    path = free_output(first, "comparison", ".json", output, (".json",))
    check_seed(seed)
    for other in opened.values():
        _check_same_data(first, other)
    pairs = {name: run.load_pair() for name, run in opened.items()}
    comparison = compare_pairs(pairs, first.load_data().test.fixed(), num_particles, seed)
    record = {
        "data": first.data,
        "num_particles": num_particles,
        "seed": seed,
        "runs": {name: str(opened[name].directory) for name in comparison.estimates},
        "figures": comparison.figures(),
        "verdict": comparison.verdict,
    }
    write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())
    _print(Console(), comparison, f"test data of {first.data['data']}, nats per datapoint")
    print(path)


def _names(runs: list[str]) -> dict[str, str]:
    """The runs by the names of their directories, or by their paths where these are not unique."""
    paths = [str(Path(run).resolve()) for run in runs]
    if len(runs) < 2 or len(set(paths)) < len(paths):
        raise ArgumentError(f"got the runs {', '.join(runs)}; expected two or more different ones")
    short = [Path(path).name for path in paths]
    counts = Counter(short)
    return {name if counts[name] == 1 else run: run for name, run in zip(short, runs, strict=True)}


def _check_same_data(first: Run, other: Run) -> None:
    """Refuse runs that do not see the same test data.

    Raises:
        DataError: saying what differs.
    """
    mine, yours = ({**run.data, "preprocessing": run.preprocessing} for run in (first, other))
    keys = [k for k in {**mine, **yours} if k not in _IMMATERIAL and mine.get(k) != yours.get(k)]
    if keys:
        told = "; ".join(f"{key} is {yours.get(key)} there and {mine.get(key)} here" for key in keys)
        raise DataError(
            f"{other.directory} cannot be compared with {first.directory}, as their test data are not the same: {told}"
        )
    if first.conditional != other.conditional:
        names = sorted((first, other), key=lambda run: run.conditional)
        raise DataError(
            f"{names[1].directory} and {names[0].directory} cannot be compared: the first is given the label of each "
            "datapoint, and the second is not"
        )


def _print(console: Console, comparison: Comparison, title: str) -> None:
    """Show a comparison as a table, and what it means."""
    heads = ("run", "bound", "log p̂(x)", "difference", "test-set sampling error", "Monte Carlo error")
    table = Table(*heads, title=title, title_justify="left")
    for name, row in _rows(comparison).items():
        table.add_row(name, *row)
    console.print(table)
    for sentence in (comparison.verdict, *comparison.cautions):
        print(sentence)


def _rows(comparison: Comparison) -> Mapping[str, tuple[str, ...]]:
    rows = {}
    for name, estimate in comparison.estimates.items():
        gap = comparison.difference(name)
        numbers = (estimate.value, gap.value, gap.standard_error)
        rows[name] = (comparison.bounds[name], *(f"{number:.3f}" for number in numbers), gap.error_text)
    return rows
