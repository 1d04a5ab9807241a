"""Training runs, checkpoints, copies and evaluations of diffusions and their single steps."""

import copy
import random

import numpy as np
import pyro
import pytest
import torch
from sklearn.datasets import make_moons

import pyvae
from pyvae import networks
from pyvae.models import denoise
from tests.clients.diffusions import digits, images, toy, vectors
from tests.compilation.training_runs import assert_trains_alike


@pytest.mark.parametrize(
    "make",
    [
        lambda: vectors(),
        lambda: vectors(prediction="velocity", variance="learned", levels=17),
        lambda: vectors(schedule=networks.LearnedNoise),
    ],
    ids=["plain", "learned variance", "learned schedule"],
)
def test_compiled_runs_of_a_single_step_are_those_without(make, interpreted):
    x = torch.rand(40, 3)
    assert_trains_alike(lambda: pyvae.SingleStep(make()), x, epochs=3, validation=x[:10])
    assert len(interpreted) == 1


@pytest.mark.parametrize("weighting", ["likelihood", "simple"])
def test_compiled_runs_hide_labels_alike(weighting, interpreted):
    x, y = torch.randn(40, 3), torch.arange(40) % 3
    assert_trains_alike(
        lambda: pyvae.SingleStep(vectors(classes=3), weighting, drop_labels=0.5), (x, y), epochs=3, batch_size=8
    )
    assert len(interpreted) == 1


def test_compiled_runs_of_the_chain_and_of_images(interpreted):
    assert_trains_alike(lambda: vectors(steps=3), torch.randn(16, 3), epochs=2)
    assert_trains_alike(lambda: pyvae.SingleStep(images(steps=3)), digits(16)[0], epochs=2, tolerance=1e-4)
    assert len(interpreted) == 2


def test_one_file_for_chain_and_single_step(tmp_path):
    pair, path, x = vectors(schedule=networks.LearnedNoise), tmp_path / "pair.safetensors", toy(5)
    single = pyvae.SingleStep(pair)
    assert list(single.state_dict()) == list(pair.state_dict())
    assert [n for n, _ in single.named_parameters()] == [n for n, _ in pair.named_parameters()]
    for source, target in ((single, "chain"), (pair, "single")):
        pyvae.save(path, source)
        other = vectors(schedule=networks.LearnedNoise)
        assert pyvae.elbo(other, x, seed=0).value != pyvae.elbo(pair, x, seed=0).value
        pyvae.load(path, other if target == "chain" else pyvae.SingleStep(other))
        assert pyvae.elbo(other, x, seed=0).value == pyvae.elbo(pair, x, seed=0).value
    with pytest.raises(pyvae.CheckpointError, match="does not belong"):
        pyvae.load(path, vectors())


def test_checkpoints_of_a_run_load_into_the_chain(tmp_path):
    pair = vectors()
    options = {"batch_size": 32, "seed": 0, "progress": False}
    pyvae.fit(pyvae.SingleStep(pair), toy(), epochs=2, checkpoint_dir=tmp_path, **options)
    other = pyvae.load(tmp_path / "checkpoint.safetensors", vectors())
    assert all(torch.equal(p, q) for p, q in zip(pair.parameters(), other.parameters(), strict=True))


def assert_shared(single):
    assert single.network is single.diffusion.network
    assert single.schedule is single.diffusion.schedule
    assert single.diffusion.network.layers[0].linear.weight is single.network.layers[0].linear.weight


def test_conversions_and_copies_keep_sharing():
    pair = vectors()
    single = pyvae.SingleStep(pair)
    for convert in (single.double, pair.float, lambda: single.to(torch.float64)):
        convert()
        assert_shared(single)
        dtype = next(pair.parameters()).dtype
        assert single.diffusion is pair
        assert pair.schedule().dtype == pair.model(size=2).dtype == dtype
        assert pyvae.elbo(single, toy(4).to(dtype)).per_datapoint.isfinite().all()
    twin = copy.deepcopy(single)
    assert_shared(twin)
    assert twin.diffusion is not pair
    assert twin.network is not pair.network
    x = toy(8).double()
    before, other = pyvae.elbo(pair, x, seed=0).value, pyvae.elbo(twin.diffusion, x, seed=0).value
    assert before == other
    pyvae.fit(twin, x, epochs=3, seed=0, progress=False)
    assert pyvae.elbo(pair, x, seed=0).value == before
    assert pyvae.elbo(twin.diffusion, x, seed=0).value != before
    both = copy.deepcopy({"chain": pair, "single": single})
    assert both["single"].diffusion is both["chain"]


def test_single_steps_have_no_importance_weights():
    pair, x = vectors(), toy(6)
    single = pyvae.SingleStep(pair)
    for measure in (pyvae.log_likelihood, pyvae.evaluate, pyvae.log_weights):
        with pytest.raises(pyvae.PairError, match=r"x_previous.*pair\.diffusion"):
            measure(single, x, num_particles=3)
        measure(pair, x, num_particles=3)
    assert pyvae.log_weights(pair, x, num_particles=3).shape == (3, 6)
    evaluation = pyvae.evaluate(pair, x, num_particles=20)
    assert evaluation.elbo.value <= evaluation.log_likelihood.value
    assert evaluation.figures()["bits_per_dimension"] == pytest.approx(-evaluation.log_likelihood.value / 3 / np.log(2))


def test_construction_leaves_no_trace():
    network, schedule = networks.TimeMLP(3, num_classes=2), networks.LearnedNoise(5)
    network.layers[0].eval()
    modes = [m.training for m in network.modules()]
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    pair = pyvae.DiffusionVAE(network, 3, schedule, num_classes=2)
    pyvae.SingleStep(pair)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    assert len(pyro.get_param_store()) == 0
    assert [m.training for m in network.modules()] == modes
    assert all(p.grad is None for p in pair.parameters())


def moons(count, seed):
    x = torch.as_tensor(make_moons(count, noise=0.05, random_state=seed)[0]).float()
    return (x - torch.tensor([0.5, 0.25])) / torch.tensor([0.87, 0.5])


def level_of_difference(one, other, permutations=500):
    """The p-value of a permutation test with the maximum mean discrepancy, of Gaussians of the median width."""
    both = torch.cat([one, other])
    distances = torch.cdist(both, both)
    kernel = torch.exp(-(distances**2) / (2 * distances.median() ** 2))
    signs = torch.ones(len(both)).index_fill(0, torch.arange(len(one), len(both)), -1.0)
    signs = torch.stack([signs, *(signs[torch.randperm(len(both))] for _ in range(permutations))])
    statistics = ((signs @ kernel) * signs).sum(1)
    return float((statistics >= statistics[0]).float().mean())


@pytest.mark.slow
def test_draws_of_a_trained_diffusion_are_like_the_data():
    held_out, torn = moons(500, 1), moons(500, 2)
    torn[:60] = torch.randn(60, 2)
    assert level_of_difference(moons(500, 3), held_out) > 0.01
    assert level_of_difference(torn + 0.2, held_out) < 0.01  # the test has power
    network = networks.TimeMLP(2, hidden=[64, 64, 64], time_dim=32)
    pair = pyvae.DiffusionVAE(network, 2, networks.LinearNoise(50))
    assert level_of_difference(pair.model(size=500).detach(), held_out) < 0.01
    pyvae.fit(
        pyvae.SingleStep(pair),
        moons(1500, 0),
        optimizer=lambda p: torch.optim.Adam(p, 5e-3),
        schedule=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 700),
        epochs=700,
        batch_size=500,
        seed=0,
        compile=False,
        progress=False,
    )
    assert level_of_difference(pair.model(size=500).detach(), held_out) > 0.01
    assert level_of_difference(denoise(pair, size=500, eta=1.0), held_out) > 0.01
