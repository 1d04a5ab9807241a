"""Evaluate the VAE 784-400-20 by importance sampling, with pyvae and with a loop by hand: images per second, memory.

The diagnosis adds Pareto's k̂, the effective sample size and smaller bounds of each image.
"""

import argparse
import math
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

import pyvae
from benchmarks.autoencoder import Autoencoder
from benchmarks.subprocesses import alone, peak_memory, reset_peak_memory
from benchmarks.tables import environment, limit_threads, table
from benchmarks.timing import quartiles
from benchmarks.workloads import images, named
from pyvae.diagnostics.sections import bounds

NAMES = ("by hand", "pyvae", "pyvae, diagnosis")
CHUNK = 500  # draws that the loop decodes at once, image by image: the fastest of 50 to 5,000 where we tried


@dataclass(frozen=True)
class Evaluated:
    """One evaluation: how long it took, the memory it added, and the bound in nats per datapoint."""

    seconds: float
    mebibytes: float
    value: float


def by_hand(autoencoder: Autoencoder, x: Tensor, particles: int) -> Tensor:
    """log (1/K) Σ_k p(x, z_k) / q(z_k | x) of every image, (N,) float64."""
    bounds = []
    with torch.no_grad():
        for image in x.split(1):
            loc, log_variance = autoencoder.encoder(image).chunk(2, -1)
            counts = [min(CHUNK, particles - start) for start in range(0, particles, CHUNK)]
            weights = [_log_weights(autoencoder, image, loc, log_variance, count) for count in counts]
            bounds.append(torch.logsumexp(torch.cat(weights), 0) - math.log(particles))
    return torch.stack(bounds)


def _log_weights(autoencoder: Autoencoder, image: Tensor, loc: Tensor, log_variance: Tensor, count: int) -> Tensor:
    """log p(x | z) + log p(z) − log q(z | x) of so many draws for one image; the constants of the normals cancel."""
    noise = torch.randn(count, loc.shape[-1])
    z = loc + (log_variance / 2).exp() * noise
    logits = autoencoder.decoder(z)
    log_likelihood = -F.binary_cross_entropy_with_logits(logits, image.expand_as(logits), reduction="none")
    latent = (noise.square() + log_variance - z.square()) / 2
    return log_likelihood.flatten(1).sum(1, dtype=torch.float64) + latent.sum(1, dtype=torch.float64)


def evaluate(name: str, particles: int, count: int, seed: int) -> Evaluated:
    """One evaluation, after a small one that is not measured."""
    workload = named("mlp")
    versions, x = workload.seeded(seed), images(count, workload.shape, seed)

    def run(rows: Tensor, particles: int) -> float:
        if name == "by hand":
            return float(by_hand(versions.by_hand, rows, particles).mean())
        if name == "pyvae":
            return pyvae.log_likelihood(versions.pair, rows, num_particles=particles).value
        diagnosis = pyvae.diagnose(versions.pair, rows, num_particles=particles, sections=[bounds])
        return diagnosis[f"L_{particles}"].value

    run(x[:2], 30)
    reset_peak_memory()
    before, start = peak_memory(), time.perf_counter()
    value = run(x, particles)
    return Evaluated(time.perf_counter() - start, peak_memory() - before, value)


def main() -> None:
    """Measure as the command line says, and write the report."""
    arguments = _arguments()
    limit_threads(arguments.threads)  # the processes started from here inherit it
    results: dict[str, list[Evaluated]] = {name: [] for name in NAMES}
    order = random.Random(arguments.seed)
    for number in range(arguments.rounds):
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
        for name in order.sample(NAMES, len(NAMES)):
            results[name].append(alone(evaluate, name, arguments.particles, arguments.images, arguments.seed))
    report = _report(arguments, results)
    if arguments.output is not None:
        arguments.output.write_text(report + "\n")
    print(report)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--particles", type=int, default=5000, help="importance samples per image")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5, help="evaluations of each way, each in a fresh process")
    parser.add_argument("--threads", type=int, help="of torch; by default one per core")
    parser.add_argument("--output", type=Path, help="a file to write the report to as well")
    parser.add_argument("--seed", type=int, default=0, help="of data, weights and draws")
    return parser.parse_args()


def _report(arguments: argparse.Namespace, results: dict[str, list[Evaluated]]) -> str:
    rows = []
    for name, runs in results.items():
        pairs = zip(results[NAMES[0]], runs, strict=True)
        ratio = quartiles([baseline.seconds / run.seconds for baseline, run in pairs])
        seconds = quartiles([run.seconds for run in runs]).median
        memory = quartiles([run.mebibytes for run in runs]).median
        cells = [f"{ratio.median:.2f} ({ratio.lower:.2f}–{ratio.upper:.2f})", f"{arguments.images / seconds:.1f}"]
        rows.append([name, *cells, f"{memory:.0f}", f"{runs[-1].value:.2f}"])
    facts = {"particles": arguments.particles, "images": arguments.images, "rounds": arguments.rounds}
    parts = [
        "# Speed of evaluation",
        environment(**facts, seed=arguments.seed),
        "Medians over the rounds (quartiles). Speed is relative to the loop by hand; more is faster.",
        table(["", "speed", "images/s", "memory added, MiB", "bound, nats"], rows),
    ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
