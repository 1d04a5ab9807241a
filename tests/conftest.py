import pyro
import pytest


@pytest.fixture(autouse=True)
def _fresh_pyro():
    """An empty param store and the same random streams for every test."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
