"""Recordings that are too long to be worth compiling."""

import subprocess
import sys

import pyro
import pytest
import torch
from torch import nn

import pyvae
from pyvae import diagnostics
from pyvae.compilation import Program


def doubled(times):
    def function(x):
        for _ in range(times):
            x = 2 * x
        return x

    return function


def test_a_recording_stops_at_the_first_site_after_it_became_too_long(interpreted):
    sites = []

    def endless(x):
        while True:
            sites.append(pyro.sample(f"x_{len(sites)}", pyro.distributions.Delta(2 * x)))

    Program(nn.Linear(1, 1), doubled(50), [torch.ones(3)], most_operations=50)
    with pytest.raises(pyvae.TraceError, match="more than 50 operations"):
        Program(nn.Linear(1, 1), doubled(51), [torch.ones(3)], most_operations=50)
    with pytest.raises(pyvae.TraceError, match="more than 50 operations"):
        Program(nn.Linear(1, 1), endless, [torch.ones(3)], most_operations=50)
    assert 0 < len(sites) <= 50
    assert len(interpreted) == 1


@pytest.fixture
def vae():
    return pyvae.recipes.gaussian(shape=(4,), latent_dim=2, hidden=[8])


def test_fit_says_that_it_trains_without_compilation_unless_told_to(vae, interpreted, monkeypatch):
    monkeypatch.setattr(sys.modules["pyvae.training.fit"], "_MOST_OPERATIONS", 20)
    monkeypatch.setattr(sys.modules["pyvae.training.fit"], "_WORTH_COMPILING", 1)
    x = torch.rand(64, 4).round()
    with pytest.warns(UserWarning, match="without compilation: it takes more than 20 operations"):
        pyvae.fit(vae, x, epochs=1, batch_size=16, seed=0, progress=False)
    assert not interpreted
    pyvae.fit(vae, x, epochs=1, batch_size=16, seed=0, progress=False, compile=True)
    assert len(interpreted) == 1


def test_a_process_survives_a_recording_that_is_given_up_at_any_operation():
    """In the guide, the model and the backward pass; none of them may end the process."""
    program = """
import torch
from pyro.infer import Trace_ELBO
import pyvae
from pyvae.compilation import Program

pair = pyvae.recipes.gaussian(shape=(4,), latent_dim=2, hidden=[3])

def gradients(x):
    loss = Trace_ELBO().differentiable_loss(pair.model, pair.guide, x)
    return loss.detach(), torch.autograd.grad(loss, list(pair.parameters()))

most, refused = 0, True
while refused:
    try:
        Program(pair, gradients, [torch.zeros(5, 4)], most_operations=most)
        refused = False
    except pyvae.TraceError as error:
        refused = f"more than {most} operations" in str(error)
        most += 7
print(most)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 70  # operations, in steps of 7


def test_evaluations_of_long_programs_run_as_they_are(vae, interpreted, monkeypatch):
    monkeypatch.setattr(sys.modules["pyvae.evaluation.log_weights"], "_WORTH_COMPILING", 0)
    x = torch.rand(64, 4).round()
    compiled = diagnostics.elbo(vae, x, seed=0)
    assert len(interpreted) == 1
    monkeypatch.setattr(sys.modules["pyvae.evaluation.compiled_runner"], "_MOST_OPERATIONS", 20)
    eager = diagnostics.elbo(vae, x, seed=0)
    assert len(interpreted) == 1
    torch.testing.assert_close(eager.per_datapoint, compiled.per_datapoint)
