"""How time and memory of training with pyvae grow with the chain, the latent vector, the batch and the data."""

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.subprocesses import alone, peak_memory, reset_peak_memory
from benchmarks.tables import environment, limit_threads, table
from benchmarks.timing import reason
from benchmarks.ways import NAMES, load
from benchmarks.workloads import Workload, diffusion, images, latent_size, named

ROWS = 5120
LATENT = 20


@dataclass(frozen=True)
class Setting:
    """One point: which quantity it varies, and the VAE (a chain if it has a length), the batch and the data."""

    varied: str
    length: int = 0
    steps: int = 0
    latent_dim: int = LATENT
    batch_size: int = 128
    rows: int = ROWS

    def workload(self) -> Workload:
        """What is trained."""
        if self.steps:
            return diffusion(self.steps)
        return named(f"chain{self.length}") if self.length else latent_size(self.latent_dim)

    def __str__(self) -> str:
        if self.steps:
            return f"diffusion of {self.steps}"
        return f"chain of {self.length}" if self.length else f"784-400-{self.latent_dim}"


SETTINGS = [
    *(Setting("length", length=length) for length in (1, 2, 4, 8, 16, 32, 64)),
    *(Setting("steps", steps=steps) for steps in (10, 100, 1000)),
    *(Setting("latent_dim", latent_dim=size) for size in (2, 20, 200, 2000)),
    *(Setting("batch_size", batch_size=size) for size in (32, 128, 512, 2048)),
    *(Setting("rows", rows=rows) for rows in (1280, 5120, 20480, 81920)),
]


@dataclass(frozen=True)
class Cost:
    """Of one setting: the median time of a step, the peak of memory above that of the imports, and the data's share."""

    milliseconds: float
    memory: float
    data: float


def cost(setting: Setting, way_name: str, epochs: int, seed: int) -> Cost:
    """Train for a first epoch, and for some whose steps are timed; the memory is the peak over everything."""
    reset_peak_memory()
    before = peak_memory()
    workload = setting.workload()
    data = images(setting.rows, workload.shape, seed)
    way = load(way_name)(workload, data, setting.batch_size, seed)
    way.epoch()
    steps = -(-setting.rows // setting.batch_size)
    times = []
    for _ in range(epochs):
        start = time.perf_counter()
        way.epoch()
        times.append((time.perf_counter() - start) / steps)
    return Cost(statistics.median(times) * 1e3, peak_memory() - before, data.nbytes / 2**20)


def main() -> None:
    """Measure as the command line says, and write the report."""
    arguments = _arguments()
    limit_threads(arguments.threads)  # the processes started from here inherit it
    rows: list[list[str]] = []
    for setting in (s for s in SETTINGS if s.varied in arguments.vary):
        print(setting, file=sys.stderr)
        cells = [str(setting), str(setting.batch_size), f"{setting.rows:,}"]
        try:
            found = alone(cost, setting, arguments.way, arguments.epochs, arguments.seed)
            by_hand = None if setting.steps else alone(cost, setting, "eager", arguments.epochs, arguments.seed)
        except Exception as error:  # a setting that fails is a result
            rows.append([*cells, f"failed: {reason(error)}", "", "", ""])
            continue
        ratio = f"{found.milliseconds / by_hand.milliseconds:.2f}" if by_hand else "–"
        rows.append([*cells, f"{found.milliseconds:.2f}", ratio, f"{found.memory:.0f}", f"{found.data:.0f}"])
    header = ["VAE", "batch size", "data", "ms per step", "relative to by hand", "memory, MiB", "data, MiB"]
    report = "\n\n".join(["# Scaling", environment(way=arguments.way, epochs=arguments.epochs), table(header, rows)])
    if arguments.output is not None:
        arguments.output.write_text(report + "\n")
    print(report)


def _arguments() -> argparse.Namespace:
    quantities = list(dict.fromkeys(setting.varied for setting in SETTINGS))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--vary", nargs="+", default=quantities, choices=quantities, help="what to let grow")
    parser.add_argument("--way", default="pyvae", choices=NAMES, help="of the training benchmark")
    parser.add_argument("--epochs", type=int, default=5, help="timed epochs per setting")
    parser.add_argument("--threads", type=int, help="of torch; by default one per core")
    parser.add_argument("--output", type=Path, help="a file to write the report to as well")
    parser.add_argument("--seed", type=int, default=0, help="of data, weights, order and draws")
    return parser.parse_args()


if __name__ == "__main__":
    main()
