import platform
import re
from importlib import metadata

import pyro
import pytest
import torch
from hypothesis import settings
from torch import fx

from pyvae.compilation import products

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_report_header():
    """The versions of what pyvae asks for: of a failure on another machine, the first thing to compare."""
    names = {re.match(r"[\w.-]+", line)[0] for line in metadata.requires("pyro-vae") if "extra ==" not in line}
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in sorted(names))
    return f"{platform.machine()}, Python {platform.python_version()}; {versions}"


@pytest.fixture(autouse=True)
def _fresh_pyro():
    """An empty param store and the same random streams for every test."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)


@pytest.fixture
def float64():
    """Where equality is the point, and not precision: new floats have 53 bits, on any processor."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def interpreted(monkeypatch):
    """In place of the compiler, which takes seconds, run recordings as they are: operation after operation of aten.

    Gives a list that gets the operations of every recording that would have been compiled. The recording itself is
    stripped of all but its graph, as by the compiler, and not kept: what it forgets must show.
    """
    recordings = []

    def run(graph, example, options=None):
        recordings.append([node.target for node in graph.graph.nodes])
        return fx.GraphModule({}, graph.graph)

    monkeypatch.setattr(torch._inductor, "compile", run)
    monkeypatch.setattr(products, "_onednn_wins", lambda a, b: False)  # measuring takes time, and rounds otherwise
    return recordings
