"""Train every workload by every way and write how many samples per second each takes, hand-written torch being 1."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.subprocesses import alone
from benchmarks.tables import environment, limit_threads, table
from benchmarks.timing import COMPARED, Measurement, measure, quartiles, reason, start_up
from benchmarks.ways import ALTERNATIVES, NAMES, NotApplicable
from benchmarks.workloads import named
from pyvae.cli.allocator import keep_memory

BASELINE = "eager"
Case = tuple[str, int]
Results = dict[Case, dict[str, Measurement]]


def main() -> None:
    """Measure as the command line says, and write the report."""
    arguments = _arguments()
    # a compiled step that an earlier process left on disk would make the start look cheap
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    limit_threads(arguments.threads)
    keep_memory()
    results: Results = {}
    starts: dict[str, dict[str, str]] = {}
    for workload in arguments.workloads:
        for batch_size in arguments.batches:
            print(f"{workload}, batches of {batch_size}", file=sys.stderr)
            results[workload, batch_size] = measure(
                workload, batch_size, arguments.rows, arguments.ways, arguments.rounds, arguments.seed
            )
        if arguments.start:
            print(f"{workload}, start", file=sys.stderr)
            starts[workload] = {
                way: _start_up(workload, arguments.batches[0], way, arguments.seed) for way in arguments.ways
            }
        report = _report(arguments, results, starts)
        if arguments.output is not None:  # after each workload, lest a long run be lost
            arguments.output.write_text(report + "\n")
    print(report)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="timed epochs of every way")
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 512], help="batch sizes")
    parser.add_argument("--workloads", nargs="+", default=["mlp", "conv", "chain5", "chain20"])
    ways = {"nargs": "+", "choices": [*NAMES, *ALTERNATIVES], "default": list(NAMES)}
    parser.add_argument("--ways", **ways, help=f"{BASELINE} is always there")
    parser.add_argument("--rows", type=int, default=5120, help="data, a multiple of every batch size")
    parser.add_argument("--threads", type=int, help="of torch and XLA; by default one per core")
    parser.add_argument("--start", action=argparse.BooleanOptionalAction, default=True, help="time the start as well")
    parser.add_argument("--output", type=Path, help="a file to write the report to as well")
    parser.add_argument("--seed", type=int, default=0, help="of data, weights, order and draws")
    arguments = parser.parse_args()
    if any(size < 1 or arguments.rows % size for size in arguments.batches):
        parser.error(f"--rows is {arguments.rows}; expected a multiple of each batch size, {arguments.batches}")
    if arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}; expected at least 1")
    try:
        for name in arguments.workloads:
            named(name)
    except ValueError as error:
        parser.error(str(error))
    arguments.ways = [BASELINE, *(way for way in arguments.ways if way != BASELINE)]
    return arguments


def _start_up(workload: str, batch_size: int, way: str, seed: int) -> str:
    try:
        return f"{alone(start_up, workload, batch_size, way, seed):.2f}"
    except NotApplicable:
        return "–"
    except Exception as error:  # whatever another library raises is a result
        return f"failed: {reason(error)}"


def _report(arguments: argparse.Namespace, results: Results, starts: dict[str, dict[str, str]]) -> str:
    batch_size = arguments.batches[0]
    parts = [
        "# Training speed",
        environment(rounds=arguments.rounds, data=f"{arguments.rows} images", seed=arguments.seed),
        f"Samples per second relative to `{BASELINE}`: median over the rounds (quartiles); more is faster.",
        _of_cases(arguments.ways, results, lambda way, case: _ratio(case[way], case[BASELINE])),
        "Milliseconds per step, median over the rounds.",
        _of_cases(arguments.ways, results, lambda way, case: _milliseconds(case[way])),
        f"Loss of epoch {COMPARED}, nats per datapoint: ways that do the same work have learned as much.",
        _of_cases(arguments.ways, results, lambda way, case: _or_problem(case[way], f"{case[way].loss:.1f}")),
    ]
    if starts:
        parts += [
            f"Seconds until two steps are done, in a fresh process, imports not counted, batches of {batch_size}.",
            table(["", *arguments.ways], [[name, *cells.values()] for name, cells in starts.items()]),
        ]
    absent = {m.absent for case in results.values() for m in case.values() if m.absent}
    return "\n\n".join([*parts, *(f"–: {note}" for note in sorted(absent))])


def _of_cases(ways: list[str], results: Results, cell: Callable[[str, dict[str, Measurement]], str]) -> str:
    """A table with one row per workload and batch size and one column per way."""
    rows = [[f"{name}, {size}", *(cell(way, case) for way in ways)] for (name, size), case in results.items()]
    return table(["workload, batch size", *ways], rows)


def _or_problem(measurement: Measurement, text: str) -> str:
    if measurement.absent:
        return "–"
    return f"failed: {measurement.failure}" if measurement.failure else text


def _ratio(measurement: Measurement, baseline: Measurement) -> str:
    if not (measurement.seconds and baseline.seconds):
        return _or_problem(measurement, "–")
    pairs = zip(baseline.seconds, measurement.seconds, strict=False)  # a way that failed has fewer rounds
    ratio = quartiles([b / s for b, s in pairs])
    return _or_problem(measurement, f"{ratio.median:.2f} ({ratio.lower:.2f}–{ratio.upper:.2f})")


def _milliseconds(measurement: Measurement) -> str:
    if not measurement.seconds:
        return _or_problem(measurement, "–")
    return _or_problem(measurement, f"{quartiles(measurement.seconds).median / measurement.steps * 1e3:.2f}")


if __name__ == "__main__":
    main()
