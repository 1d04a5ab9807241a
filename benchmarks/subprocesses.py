"""Measurements in a process of their own, which neither gain nor suffer from what ran before."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

__all__ = ["alone", "peak_memory", "reset_peak_memory"]

P = ParamSpec("P")
T = TypeVar("T")

_MEBIBYTE_IN_KIBIBYTES = 1024


def alone(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """``function(*args, **kwargs)`` in a fresh process; what it raises is raised here."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def reset_peak_memory() -> None:
    """Start the record of this process's peak anew, from what it holds now. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> float:
    """The most memory that this process held since the last reset, in MiB. Linux only.

    This is what ``resource.getrusage`` calls ``ru_maxrss``, but that one cannot be reset, and a child process inherits
    its parent's.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields["VmHWM"].split()[0]) / _MEBIBYTE_IN_KIBIBYTES
