"""The distributions of diffusions: steps drawn evenly, a normal on a grid, weighted densities."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from scipy.stats import chisquare
from torch import nn
from torch.distributions import kl_divergence

import pyvae
from pyvae.distributions import DiscretizedNormal, StratifiedSteps, Weighted
from tests.truth.diffusions import discretized

SCALES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
GRIDS = [
    (dtype, levels, scale) for dtype in (torch.float32, torch.float64) for levels in (2, 17, 256) for scale in SCALES
]
LOCATIONS = torch.cat([torch.linspace(0, 1, 101), torch.linspace(-3, 4, 140), torch.tensor([0.1234567])]).double()


def steps(count, rows, draws=1):
    distribution = StratifiedSteps(count, torch.zeros(()))
    return torch.stack([distribution.expand([rows]).sample() for _ in range(draws)])


@pytest.mark.parametrize("count", [1, 3, 10, 1000])
@pytest.mark.parametrize("rows", [1, 3, 7, 128, 1000])
def test_steps_are_spread_evenly_over_a_batch(count, rows):
    for batch in steps(count, rows, 20):
        assert batch.dtype == torch.int64
        assert batch.min() >= 1
        counts = batch.bincount(minlength=count + 1)[1:]
        assert len(counts) == count
        assert counts.max() - counts.min() <= 1 + (rows > count)  # rounding may move one over an edge
        assert (counts.float() - rows / count).abs().max() < 1 + 1e-4


@pytest.mark.parametrize(("count", "rows"), [(5, 3), (5, 1), (3, 7), (4, 4)])
def test_each_step_alone_is_uniform(count, rows):
    draws = steps(count, rows, 3000)
    for row in range(rows):
        assert chisquare(draws[:, row].bincount(minlength=count + 1)[1:].numpy()).pvalue > 1e-4


def test_steps_stand_in_random_order():
    draws = steps(10, 10, 2000)
    following = (draws[:, 1] - draws[:, 0]).remainder(10)
    assert chisquare(following.bincount(minlength=10)[1:].numpy()).pvalue > 1e-4
    assert (following > 0).all()


def test_steps_as_a_distribution():
    distribution = StratifiedSteps(7, torch.zeros((), dtype=torch.float64)).expand([2, 3])
    assert (distribution.batch_shape, distribution.event_shape) == ((2, 3), ())
    draw = distribution.sample([5])
    assert draw.shape == distribution.log_prob(draw).shape == (5, 2, 3)
    torch.testing.assert_close(distribution.log_prob(draw), torch.full((5, 2, 3), -math.log(7)).double())
    assert not kl_divergence(distribution, distribution).any()
    with pytest.raises(NotImplementedError, match="numbers of steps"):
        kl_divergence(distribution, StratifiedSteps(6, torch.zeros(())))


@pytest.mark.parametrize(("dtype", "levels", "scale"), GRIDS)
def test_probabilities_of_the_grid_sum_to_one(dtype, levels, scale):
    loc = LOCATIONS.to(dtype, copy=True).requires_grad_()
    scales = torch.full_like(loc, scale, requires_grad=True)
    grid = torch.arange(levels, dtype=dtype) / (levels - 1)
    log_probs = DiscretizedNormal(loc[:, None], scales[:, None], levels).log_prob(grid)
    assert log_probs.isfinite().all()
    assert (log_probs <= 1e-6).all()
    error = (log_probs.exp().sum(-1) - 1).abs().max()
    assert error < (1e-5 if dtype == torch.float64 else 2e-5)
    log_probs.sum().backward()
    assert loc.grad.isfinite().all()
    assert scales.grad.isfinite().all()


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("scale", SCALES)
def test_probabilities_are_differences_of_the_distribution_function(levels, scale):
    loc = LOCATIONS[:, None]
    grid = torch.arange(levels).double() / (levels - 1)
    expected = discretized(2 * grid - 1, 2 * loc - 1, torch.full_like(loc, 2 * scale), levels)
    ours = DiscretizedNormal(loc, torch.full_like(loc, scale), levels).log_prob(grid)
    exact = expected > -500  # below, scipy has no digits
    assert exact.sum() > len(loc) - 1
    torch.testing.assert_close(ours[exact], expected[exact], rtol=1e-5, atol=1e-5)


def test_gradients_of_the_grid_are_right():
    loc, scale = (v.double().requires_grad_() for v in (torch.linspace(-0.5, 1.5, 9)[:, None], torch.full((9, 1), 0.2)))
    grid = torch.arange(17).double() / 16
    assert torch.autograd.gradcheck(lambda m, s: DiscretizedNormal(m, s, 17).log_prob(grid), (loc, scale), atol=1e-5)


@pytest.mark.parametrize(("loc", "scale"), [(0.3, 0.2), (-0.1, 0.3), (1.2, 0.1), (0.5, 1e-3)])
def test_draws_lie_on_the_grid_with_their_probabilities(loc, scale):
    distribution = DiscretizedNormal(torch.tensor(loc), torch.tensor(scale), 5)
    draws = distribution.sample([20_000])
    places = (draws * 4).round()
    assert torch.equal(draws, places / 4)
    probabilities = distribution.log_prob(torch.arange(5) / 4).exp()
    counts = places.long().bincount(minlength=5)
    likely = probabilities > 1e-3
    assert ((counts - 20_000 * probabilities).abs()[likely] < 5 * (20_000 * probabilities[likely]).sqrt()).all()
    assert counts[~likely].sum() < 200


def test_the_grid_as_a_distribution():
    distribution = DiscretizedNormal(torch.rand(4, 1, 3), torch.rand(2, 3) + 0.1, 17)
    assert distribution.batch_shape == (4, 2, 3)
    events = distribution.to_event(2)
    assert (events.batch_shape, events.event_shape) == ((4,), (2, 3))
    expanded = events.expand([5, 4])
    draw = expanded.sample()
    assert draw.shape == (5, 4, 2, 3)
    torch.testing.assert_close(expanded.log_prob(draw), distribution.log_prob(draw).sum((-1, -2)))
    assert distribution.mean.shape == (4, 2, 3)
    assert distribution.sample([6]).shape == (6, 4, 2, 3)
    assert not distribution.sample().requires_grad
    with pytest.raises(ValueError, match="support"):
        distribution.log_prob(torch.full((4, 2, 3), 1.1))
    for wrong in (1, 0, 2.0, True):
        with pytest.raises(pyvae.ArgumentError, match="levels is"):
            DiscretizedNormal(torch.zeros(()), torch.ones(()), wrong)


def normal(*shape):
    return dist.Normal(torch.randn(*shape), torch.rand(*shape) + 0.5).to_event(1)


def test_weighted_densities():
    p, r, weight = normal(4, 3), normal(4, 3), torch.tensor([0.0, 1.0, 2.5, 7.0])
    weighted, x = Weighted(p, weight), torch.randn(4, 3)
    torch.testing.assert_close(weighted.log_prob(x), weight * p.log_prob(x))
    torch.testing.assert_close(kl_divergence(weighted, Weighted(r, weight.clone())), weight * kl_divergence(p, r))
    other = kl_divergence(weighted, Weighted(r, torch.tensor([0.0, 1.0, 2.0, 7.0])))
    assert other.isnan().tolist() == [False, False, True, False]
    assert torch.equal(weighted.mean, p.mean)
    assert torch.equal(weighted.variance, p.variance)
    assert (weighted.batch_shape, weighted.event_shape) == ((4,), (3,))
    expanded = weighted.expand([2, 4])
    assert expanded.sample().shape == (2, 4, 3)
    torch.testing.assert_close(expanded.log_prob(x), (weight * p.log_prob(x)).expand(2, 4))
    broadcast = Weighted(dist.Normal(torch.zeros(()), 1.0), weight)
    assert broadcast.batch_shape == broadcast.sample().shape == (4,)
    assert broadcast.rsample([5]).shape == (5, 4)
    bits = Weighted(dist.Bernoulli(torch.full((4,), 0.5)), weight)
    assert weighted.has_rsample
    assert not bits.has_rsample
    assert broadcast.sample().unique().numel() == 4


class Rare(nn.Module):
    """z counts 4-fold for a random quarter of the data, which "who" has drawn, and not at all for the others."""

    def __init__(self, weighted):
        super().__init__()
        self.weighted, self.loc = weighted, nn.Parameter(torch.tensor(0.7))

    def counted(self, p):
        if not self.weighted:
            return p
        who = pyro.sample("who", StratifiedSteps(4, torch.zeros(())))
        return Weighted(p, 4.0 * (who == 2))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.counted(dist.Normal(torch.zeros(len(x)), 1.0)))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.counted(dist.Normal(self.loc * x, 0.8)))


@pytest.mark.parametrize("objective", [Trace_ELBO, TraceMeanField_ELBO])
def test_weights_of_mean_one_leave_elbo_and_gradient_unbiased(objective):
    x = torch.linspace(-2, 2, 10)
    objective = objective(num_particles=400, vectorize_particles=True, max_plate_nesting=1)
    figures = {}
    for weighted in (False, True):
        pair, draws = Rare(weighted), []
        for _ in range(40):
            loss = objective.differentiable_loss(pair.model, pair.guide, x)
            draws.append(torch.stack([loss.detach(), *torch.autograd.grad(loss, [pair.loc])]))
        draws = torch.stack(draws)
        figures[weighted] = draws.mean(0), draws.var(0) / 40
    (one, error), (other, more) = figures[False], figures[True]
    assert ((one - other).abs() < 4 * (error + more).sqrt()).all()
    assert ((error + more).sqrt() < 0.02 * one.abs()).all()
