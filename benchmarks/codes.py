"""The search for the nearest code, beside one product of matrices; and sampling codes with a cache, beside none."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.tables import environment, limit_threads, table
from pyvae.networks import CausalTransformer, PixelCNN
from pyvae.priors import AutoregressiveCodes
from pyvae.quantizers.quantizer import nearest_codes


def seconds(way: Callable[[], object], rounds: int) -> float:
    """The shortest of so many runs."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return min(times)


def search(rounds: int) -> list[str]:
    """10⁵ vectors of length 64 among 512 codes."""
    z, codebook = torch.randn(100_000, 64), torch.randn(512, 64)
    plain = seconds(lambda: (z @ codebook.T).argmin(-1), rounds)
    ours = seconds(lambda: nearest_codes(z, codebook), rounds)
    return [
        "nearest of 512 codes, 10⁵ × 64",
        "product and argmin",
        f"{plain:.3f}",
        f"{ours:.3f}",
        f"{plain / ours:.1f}",
    ]


@torch.no_grad()
def sampling(network: torch.nn.Module, steps: int) -> list[str]:
    """16 grids of 28 × 28 codes; without a cache, from the time of the first steps, which all cost the same."""
    prior = AutoregressiveCodes(network).eval()
    grid = torch.zeros(16, *network.shape, dtype=torch.int64)
    naive = seconds(lambda: [network(grid) for _ in range(steps)], 1) / steps * grid[0].numel()
    cached = seconds(lambda: prior().expand([16]).sample(), 1)
    name = f"{type(network).__name__}, 16 grids of 28 × 28"
    return [name, "the network at each place", f"{naive:.1f}", f"{cached:.2f}", f"{naive / cached:.0f}"]


def main() -> None:
    """Measure as the command line says, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="runs of each search, of which the shortest counts")
    parser.add_argument("--steps", type=int, default=4, help="of sampling without a cache")
    parser.add_argument("--threads", type=int, help="of torch; by default one per core")
    parser.add_argument("--output", type=Path, help="a file to write the report to as well")
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    rows = [search(arguments.rounds)]
    for make in (PixelCNN, CausalTransformer):
        print(make.__name__, file=sys.stderr)
        rows.append(sampling(make((28, 28), 256), arguments.steps))
    header = ["work", "beside", "seconds of that", "seconds", "times faster"]
    report = "\n\n".join(["# Codes", environment(rounds=arguments.rounds), table(header, rows)])
    if arguments.output is not None:
        arguments.output.write_text(report + "\n")
    print(report)


if __name__ == "__main__":
    main()
