"""Markdown tables, and what a reader must know of the machine to judge them."""

import datetime
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

__all__ = ["environment", "limit_threads", "table"]

PACKAGES = ("pyro-vae", "torch", "pyro-ppl", "numpy", "jax", "jaxlib", "numpyro", "pythae")
_LOAD = os.getloadavg()[0]  # while this is imported nothing has been measured yet


def limit_threads(count: int | None) -> None:
    """Let torch and XLA compute with so many threads; by default with one per core that the process may use.

    XLA takes one thread per core that the process may use, so that the process is confined to some of them, where the
    system can do that. Call this before JAX is imported.

    Raises:
        ValueError: if there are fewer cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        if count is not None:
            torch.set_num_threads(count)
        return
    cores = sorted(os.sched_getaffinity(0))
    count = len(cores) if count is None else count
    if not 0 < count <= len(cores):
        raise ValueError(f"got {count} threads; expected 1 to {len(cores)}, the cores that the process may use")
    os.sched_setaffinity(0, cores[:count])
    torch.set_num_threads(count)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def environment(**settings: object) -> str:
    """Versions, processor, threads, date and settings, as a Markdown list."""
    facts = {
        "date": datetime.date.today().isoformat(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "load": f"{_LOAD:.1f} processes in the minute before the start",
        "system": platform.platform(),
        "versions": ", ".join(["Python " + platform.python_version(), *map(_installed, PACKAGES)]),
        **settings,
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} –"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
