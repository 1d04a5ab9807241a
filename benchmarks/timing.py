"""Interleaved timing: every round times one epoch of every way, so that noise and drift hit all alike."""

import gc
import random
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.ways import NotApplicable, Way, load
from benchmarks.workloads import images, named

__all__ = ["COMPARED", "Measurement", "Quartiles", "measure", "quartiles", "reason", "start_up"]

COMPARED = 3  # the epoch whose loss is reported: how many follow it depends on how fast the way is
WARM_UP = 0.1


@dataclass
class Measurement:
    """What was measured of one way.

    Attributes:
        steps: per epoch.
        seconds: of each round's epoch.
        loss: mean loss per datapoint of epoch number ``COMPARED``.
        absent: why the way cannot be tried, if so.
        failure: why it broke down, if so.
    """

    steps: int
    seconds: list[float] = field(default_factory=list)
    loss: float = float("nan")
    absent: str = ""
    failure: str = ""


@dataclass(frozen=True)
class Quartiles:
    """The quartiles of a sample."""

    lower: float
    median: float
    upper: float


def quartiles(sample: list[float]) -> Quartiles:
    """The quartiles of a sample of any size but 0."""
    if len(sample) == 1:
        return Quartiles(sample[0], sample[0], sample[0])
    return Quartiles(*statistics.quantiles(sample, n=4, method="inclusive"))


def reason(error: Exception) -> str:
    """The kind and the first line of an error."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".removesuffix(": ")


def measure(
    workload_name: str, batch_size: int, rows: int, names: list[str], rounds: int, seed: int
) -> dict[str, Measurement]:
    """Train a workload by the named ways, in turns; the order within a round is random.

    The first epochs of each, which compile and allocate, are not timed.
    """
    results = {name: Measurement(rows // batch_size) for name in names}
    workload = named(workload_name)
    data = images(rows, workload.shape, seed)
    ways: dict[str, Way] = {}
    for name in names:
        try:
            ways[name] = load(name)(workload, data, batch_size, seed)
            for _ in range(COMPARED):
                results[name].loss = ways[name].epoch()
        except NotApplicable as absence:
            results[name].absent = str(absence)
        except Exception as error:  # whatever another library raises is a result
            results[name].failure = reason(error)
    order = random.Random(seed)
    for _ in range(rounds):
        usable = [name for name in names if not (results[name].absent or results[name].failure)]
        order.shuffle(usable)
        _one_round({name: ways[name] for name in usable}, results)
    return results


def _one_round(ways: Mapping[str, Way], results: Mapping[str, Measurement]) -> None:
    """Time one epoch of each way, after some that are not timed.

    The untimed ones bring threads and caches back to where they are in the middle of a training run: the scheduler
    may need some 0.05 s to spread a thread pool that wakes up over the cores.
    """
    for name, way in ways.items():
        gc.collect()  # none pays for what another left
        try:
            ready = time.perf_counter() + WARM_UP
            while time.perf_counter() < ready:
                way.epoch()
            start = time.perf_counter()
            way.epoch()
            seconds = time.perf_counter() - start
        except Exception as error:
            results[name].failure = reason(error)
            continue
        results[name].seconds.append(seconds)


def start_up(workload_name: str, batch_size: int, name: str, seed: int) -> float:
    """Seconds from the data in memory to the end of the second step, compilation included, imports not.

    Some ways compile only when the first step has shown that the model runs.
    """
    workload = named(workload_name)
    data = images(batch_size, workload.shape, seed)
    make = load(name)
    start = time.perf_counter()
    way = make(workload, data, batch_size, seed)
    way.epoch()
    way.epoch()
    return time.perf_counter() - start
