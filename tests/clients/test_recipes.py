"""What pairs remember of how they were made, and pairs made of that."""

import inspect
import json

import pytest
import torch
from torch import nn

import pyvae
from pyvae import recipes
from pyvae.checkpoint import read_tensors, write_tensors
from pyvae.recipes.loading import build

GIVEN = {
    name: {
        n: {"shape": [1, 8, 8], "num_classes": 3}[n]
        for n in inspect.signature(getattr(recipes, name)).parameters
        if n in ("shape", "num_classes")
    }
    for name in recipes.__all__
}
GIVEN["speech"]["shape"] = [1, 2000]


@pytest.mark.parametrize("name", recipes.__all__)
def test_every_argument_is_recorded_and_makes_the_pair_again(name):
    recipe = getattr(recipes, name)
    pair = recipe(**GIVEN[name])
    arguments = pair.recipe["arguments"]
    assert list(arguments) == list(inspect.signature(recipe).parameters)
    assert json.loads(json.dumps(pair.recipe)) == pair.recipe
    again = build(name, arguments)
    assert again.recipe == pair.recipe
    assert {n: t.shape for n, t in again.state_dict().items()} == {n: t.shape for n, t in pair.state_dict().items()}


def test_a_file_outlives_a_change_of_defaults(tmp_path, monkeypatch):
    pair = recipes.gaussian((5,), 2)
    pyvae.save(tmp_path / "pair.safetensors", pair)
    monkeypatch.setattr(recipes.gaussian.__wrapped__, "__defaults__", (5, [3, 3], *_defaults(recipes.gaussian)[2:]))
    assert recipes.gaussian((5,)).recipe["arguments"]["hidden"] == [3, 3]
    loaded = pyvae.load(tmp_path / "pair.safetensors")
    assert all(torch.equal(t, loaded.state_dict()[n]) for n, t in pair.state_dict().items())


def test_a_record_that_lacks_arguments_has_their_defaults(tmp_path):
    """Such as earlier versions have written, of what was passed alone."""
    pair = recipes.gaussian((5,), latent_dim=2)
    recipe = {"name": "gaussian", "arguments": {"shape": [5], "latent_dim": 2}}
    write_tensors(tmp_path / "old.safetensors", pair.state_dict(), {"kind": "pair", "recipe": recipe})
    loaded = pyvae.load(tmp_path / "old.safetensors")
    assert all(torch.equal(t, loaded.state_dict()[n]) for n, t in pair.state_dict().items())
    expected = {**pair.recipe, "arguments": {**pair.recipe["arguments"], "log_input": False}}  # as it was then
    assert loaded.recipe == expected
    pyvae.save(tmp_path / "new.safetensors", loaded)
    assert read_tensors(tmp_path / "new.safetensors")[1]["recipe"] == expected


@pytest.mark.parametrize("weighting", ["likelihood", "simple"])
def test_a_diffusion_whose_noise_cannot_be_recorded_is_trained(weighting):
    pair = recipes.diffusion(
        (4,), steps=3, channels=[2], weighting=weighting, noise=lambda steps: pyvae.networks.CosineNoise(steps)
    )
    assert pair.recipe is None
    trained = recipes.diffusion.trains(pair)
    assert isinstance(trained, nn.Module)
    assert trained.weighting == weighting
    pyvae.fit(trained, torch.rand(8, 4).round(), epochs=1, batch_size=4, seed=0, progress=False)


def _defaults(recipe):
    return recipe.__wrapped__.__defaults__
