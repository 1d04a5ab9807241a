"""A pair is run once to find out what it does; what was found is handed on."""

import sys

import pytest
import torch

import pyvae
from pyvae import recipes

X = torch.rand(300, 16).round()


@pytest.fixture
def inspections(monkeypatch):
    module, found = sys.modules["pyvae.inspection.inspection"], []
    traced = module._traced
    monkeypatch.setattr(module, "_traced", lambda pair, args: found.append(type(pair).__name__) or traced(pair, args))
    return found


CALLS = {
    "fit": lambda pair, x: pyvae.fit(pair, x, validation=x[:50], epochs=2, batch_size=64, progress=False),
    "fit with codes": lambda pair, x: pyvae.fit(pair, x, epochs=2, batch_size=64, progress=False),
    "elbo": lambda pair, x: pyvae.elbo(pair, x, num_particles=2),
    "log_likelihood": lambda pair, x: pyvae.log_likelihood(pair, x, num_particles=2),
    "log_weights": lambda pair, x: pyvae.log_weights(pair, x, num_particles=2),
    "evaluate": lambda pair, x: pyvae.evaluate(pair, x, num_particles=2),
    "evaluate with codes": lambda pair, x: pyvae.evaluate(pair, x, num_particles=2),
    "code_usage": lambda pair, x: pyvae.code_usage(pair, x),
    "diagnose": lambda pair, x: pyvae.diagnose(pair, x[:60], num_particles=25),
    "diagnose with codes": lambda pair, x: pyvae.diagnose(pair, x[:60], num_particles=25),
    "to_inference_data": lambda pair, x: pyvae.to_inference_data(pair, x, num_samples=10),
    "posterior_means": lambda pair, x: pyvae.latent_space.posterior_means(pair, x),
}


@pytest.mark.parametrize("call", CALLS)
def test_each_public_call_inspects_once(call, inspections):
    codes = "code" in call
    pair = recipes.vqvae((1, 8, 8), num_codes=8, channels=[8]) if codes else recipes.gaussian((16,), 2, [8])
    inspections.clear()
    CALLS[call](pair, torch.rand(300, 1, 8, 8).round() if codes else X)
    assert inspections == [type(pair).__name__]


def test_comparing_inspects_each_pair_once(inspections):
    pyvae.compare({name: recipes.gaussian((16,), 2, [8]) for name in "ab"}, X, num_particles=2)
    assert inspections == ["VAE", "VAE"]
