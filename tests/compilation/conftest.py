import logging

import pytest
import torch
from torch import fx

from pyvae.compilation import products


@pytest.fixture(autouse=True)
def _no_log_of_the_compiler():
    """Pytest would gather torch's records of all that it traces, which takes longer than the tests."""
    logger = logging.getLogger("torch.__trace")
    before, logger.disabled = logger.disabled, True
    yield
    logger.disabled = before


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
