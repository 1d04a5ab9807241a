"""Gradients of diffusions: of the chain and of single steps, of fixed and learned schedules, of the simple loss."""

import copy

import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch.distributions import kl_divergence

import pyvae
from pyvae.inspection.inspection import inspect_pair
from pyvae.networks import LearnedNoise
from pyvae.objectives import default_objective
from tests.truth.diffusions import (
    LEVELS,
    PREDICTIONS,
    VARIANCES,
    ForwardGuided,
    Textbook,
    arbitrary,
    some_betas,
    some_data,
)

BLOCKS = 24


def gradients(pair, x, objective, rows=600):
    """Gradients of the mean loss, of independent blocks: (BLOCKS, number of parameters)."""
    parameters, blocks = list(pair.parameters()), []
    x = x.repeat(rows // len(x), 1)
    for _ in range(BLOCKS):
        loss = objective.differentiable_loss(pair.model, pair.guide, x) / len(x)
        blocks.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    return torch.stack(blocks)


def assert_same_mean(one, other):
    """The z-scores of all components are those of equal means."""
    assert one.shape == other.shape
    error = ((one.var(0) + other.var(0)) / BLOCKS).sqrt()
    moving = error > 1e-12
    assert moving.float().mean() > 0.8
    assert error.norm() < 0.15 * one.mean(0).norm()
    z = ((one - other).mean(0) / error)[moving]
    assert z.abs().max() < 4.5
    assert z.square().mean() < 5  # of one, if the components were independent


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("levels", LEVELS)
def test_gradients_of_a_single_step_are_those_of_the_chain(prediction, variance, levels):
    pair, x = arbitrary(prediction, variance, levels), some_data(levels)
    chain = gradients(pair, x, TraceMeanField_ELBO())
    assert_same_mean(chain, gradients(pyvae.SingleStep(pair).eval(), x, TraceMeanField_ELBO()))


@pytest.mark.parametrize("levels", LEVELS)
def test_gradients_of_a_learned_schedule(levels):
    """Whether by closed forms or by the draw, of the chain in either direction, or of a single step."""
    pair, x = arbitrary(levels=levels, schedule=LearnedNoise(4)), some_data(levels)
    with torch.no_grad():
        pair.schedule.falls.add_(torch.tensor([-1.0, 0.5, -2.0]))
        pair.schedule.first.sub_(1)
    single = pyvae.SingleStep(pair)
    expected = gradients(pair, x, TraceMeanField_ELBO(), rows=960)
    schedule = torch.cat([p.flatten() != 0 for p in pair.schedule.parameters()])
    assert expected.shape[1] > schedule.numel() == 4
    for other, objective in ((ForwardGuided(pair), Trace_ELBO()), (single, TraceMeanField_ELBO())):
        assert_same_mean(expected, gradients(other, x, objective, rows=960))
    assert_same_mean(expected, gradients(single, x, Trace_ELBO(), rows=960))
    for other in (pair, single):
        other.zero_grad()
        TraceMeanField_ELBO().differentiable_loss(other.model, other.guide, x).backward()
        assert all(p.grad.abs().min() > 0 for p in pair.schedule.parameters())


@pytest.mark.filterwarnings("ignore:schedule.* was not registered in the param store")
def test_training_moves_a_learned_schedule_and_improves_the_elbo():
    x = torch.randn(256, 2) * torch.tensor([0.2, 1.0])
    pair = pyvae.DiffusionVAE(pyvae.networks.TimeMLP(2, hidden=[16], time_dim=8), 2, LearnedNoise(5))
    before, schedule = pyvae.elbo(pair, x, num_particles=20, seed=0), pair.schedule().detach()
    options = {"optimizer": lambda p: torch.optim.Adam(p, 1e-2), "batch_size": 64, "seed": 0, "progress": False}
    fixed = copy.deepcopy(pair)
    fixed.schedule.requires_grad_(False)
    for each in (pair, fixed):
        pyvae.fit(pyvae.SingleStep(each), x, epochs=50, **options)
    after = pyvae.elbo(pair, x, num_particles=20, seed=0)
    assert after.value > before.value + 1
    assert after.value > pyvae.elbo(fixed, x, num_particles=20, seed=0).value + 0.1
    assert (pair.schedule() - schedule).abs().min() > 1e-2
    assert (pair.schedule().diff() < 0).all()
    assert torch.equal(fixed.schedule(), schedule)


def weighted_terms(single, x):
    """The part of the loss that a step has, of given t and noise."""
    q = poutine.trace(single.guide).get_trace(x)
    p = poutine.trace(poutine.replay(single.model, trace=q)).get_trace(x)
    kl = kl_divergence(q.nodes["x_previous"]["fn"], p.nodes["x_previous"]["fn"])
    return q.nodes["t"]["value"], q.nodes["noise"]["value"], kl - p.nodes["x_0"]["fn"].log_prob(x)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("variance", ["posterior", "forward"])
def test_simple_weighting_is_the_squared_error_of_the_noise(prediction, variance):
    pair, x = arbitrary(prediction, variance), some_data(None, 60)
    book = Textbook(pair, some_betas())
    single = pyvae.SingleStep(pair, weighting="simple")
    parameters = list(pair.network.parameters())
    for training in (True, False):
        t, noise, terms = weighted_terms(single.train(training), x)
        assert set(t.tolist()) == set(range(1, 11))
        for step in range(1, 11):
            rows = t == step
            x_t = book.noised(x[rows], step, noise[rows])
            error = (noise[rows] - book.noise_guess(x_t, step)[0]).square().sum(-1)
            expected = 10 * 0.5 * error if training else 10 * book.term(x[rows], x_t, step)
            ours, theirs = (
                torch.autograd.grad(v.sum(), parameters, retain_graph=True) for v in (terms[rows], expected)
            )
            for one, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def test_modes_of_the_weighting():
    """Likelihood weights are T in either mode; simple ones differ from them."""
    pair, x = arbitrary(), some_data(None, 60)
    for weighting in ("likelihood", "simple"):
        for training in (True, False):
            single = pyvae.SingleStep(pair, weighting=weighting).train(training)
            q = poutine.trace(single.guide).get_trace(x)
            weight, late = q.nodes["x_previous"]["fn"].weight, q.nodes["t"]["value"] > 1
            assert (weight[~late] == 0).all()
            assert bool((weight[late] == 10).all()) == (weighting == "likelihood" or not training)
    likelihood, simple = (pyvae.SingleStep(pair, weighting=w) for w in ("likelihood", "simple"))
    assert pyvae.elbo(likelihood, x, seed=0).value == pyvae.elbo(simple, x, seed=0).value
    assert simple.training


def test_objectives_of_the_pairs():
    """Closed forms where there are: not with the guide that runs in the other order."""
    pair, x = arbitrary(), some_data(None)
    assert type(default_objective(inspect_pair(pair, (x,)))) is TraceMeanField_ELBO
    assert type(default_objective(inspect_pair(pyvae.SingleStep(pair), (x,)))) is TraceMeanField_ELBO
    assert type(default_objective(inspect_pair(ForwardGuided(pair), (x,)))) is Trace_ELBO


def test_a_learned_schedule_takes_no_simple_weighting():
    pair = arbitrary(schedule=LearnedNoise(10))
    with pytest.raises(pyvae.ArgumentError, match="simple"):
        pyvae.SingleStep(pair, weighting="simple")
    pair.schedule.requires_grad_(False)
    pyvae.SingleStep(pair, weighting="simple")
