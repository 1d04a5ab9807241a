"""Diffusions against closed forms: Gaussian data, whose reverse process is known, and the terms of the papers."""

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch.distributions import kl_divergence

import pyvae
from tests.truth.diffusions import (
    LEVELS,
    PREDICTIONS,
    VARIANCES,
    Betas,
    Exact,
    ForwardGuided,
    Textbook,
    arbitrary,
    some_betas,
    some_data,
)

every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
every_variance = pytest.mark.parametrize("variance", VARIANCES)
every_levels = pytest.mark.parametrize("levels", LEVELS)
SCALE = torch.tensor([0.3, 1.0, 1.7])
SHORT = some_betas(8)
LONG = torch.linspace(0.05, 0.9, 20).double()  # ᾱ_T is 1e-7 or so


def exact(scale, betas, prediction, variance="learned"):
    network = Exact(scale, betas, prediction, variance == "learned")
    return pyvae.DiffusionVAE(network, len(scale), Betas(betas), prediction, variance)


def gaussian(scale, count=50):
    """Data and log q(x_0) of each."""
    law = dist.Normal(torch.zeros_like(scale).double(), scale.double()).to_event(1)
    x = law.sample([count])
    return x, law.log_prob(x)


def traces(pair, x, guide="guide"):
    q = poutine.trace(getattr(pair, guide)).get_trace(x)
    return q, poutine.trace(poutine.replay(pair.model, trace=q)).get_trace(x)


def log_joint(trace):
    """The sum of the log densities of all sites, for each datapoint."""
    trace.compute_log_prob()
    return sum(s["log_prob"] for s in trace.nodes.values() if s["type"] == "sample" and "data" not in s["name"])


@every_prediction
@pytest.mark.parametrize("variance", ["forward", "learned"])
@pytest.mark.parametrize("betas", [SHORT, SHORT[:2], SHORT[:1]], ids=["T=8", "T=2", "T=1"])
def test_elbo_of_the_exact_process_of_standard_normal_data(prediction, variance, betas):
    """Where s = 1 every x_t is N(0, I), and β_t the variance of the reverse process."""
    x, log_density = gaussian(torch.ones(3))
    pair = exact(torch.ones(3), betas, prediction, variance)
    estimate = pyvae.elbo(pair, x, num_particles=3)
    torch.testing.assert_close(estimate.per_datapoint, log_density, atol=1e-5, rtol=0)
    assert estimate.standard_error < 1e-6
    bound = pyvae.log_likelihood(pair, x, num_particles=3)
    torch.testing.assert_close(bound.per_datapoint, log_density, atol=1e-5, rtol=0)


@every_prediction
@pytest.mark.parametrize("guide", ["guide", "forward_guide"])
def test_weights_of_the_exact_process_are_known_on_every_path(prediction, guide):
    """p(x_0:T) = p(x_T) q(x_0:T) / q(x_T): the weight is q(x_0) p(x_T) / q(x_T), whatever lies between."""
    x, log_density = gaussian(SCALE)
    q, p = traces(exact(SCALE, SHORT, prediction), x, guide)
    bar = (1 - SHORT).prod()
    last = dist.Normal(torch.zeros(3).double(), (bar * SCALE.double() ** 2 + 1 - bar).sqrt()).to_event(1)
    x_t = q.nodes["x_8"]["value"]
    expected = log_density + dist.Normal(torch.zeros(3).double(), 1).to_event(1).log_prob(x_t) - last.log_prob(x_t)
    torch.testing.assert_close(log_joint(p) - log_joint(q), expected, atol=1e-8, rtol=0)


@every_prediction
def test_elbo_of_the_exact_process_falls_short_by_the_noise_that_is_left(prediction):
    """By E_q[log q(x_T) / p(x_T)], which on average over the data is KL(q(x_T) ‖ p(x_T))."""
    x, log_density = gaussian(SCALE, 400)
    estimate = pyvae.elbo(exact(SCALE, SHORT[:4], prediction), x, num_particles=200, seed=0)
    bar = (1 - SHORT[:4]).prod()
    total = bar * SCALE.double() ** 2 + 1 - bar
    gap = 0.5 * ((1 - 1 / total) * (bar * x**2 + 1 - bar) - total.log()).sum(-1)
    assert gap.abs().mean() > 0.05
    assert abs(estimate.value - (log_density - gap).mean()) < 4 * estimate.standard_error
    assert (abs(estimate.per_datapoint - log_density + gap) < 5 * estimate.standard_errors).all()
    kl = 0.5 * (total - 1 - total.log()).sum()
    assert abs(gap.mean() - kl) < 4 * gap.std() / len(x) ** 0.5


@every_prediction
def test_elbo_of_the_exact_process_is_the_likelihood_where_no_signal_is_left(prediction):
    x, log_density = gaussian(SCALE)
    betas = torch.cat([LONG, torch.full([2], 0.99).double()])
    estimate = pyvae.elbo(exact(SCALE, betas, prediction), x, num_particles=3)
    torch.testing.assert_close(estimate.per_datapoint, log_density, atol=1e-5, rtol=0)


@every_prediction
def test_model_of_the_exact_process_draws_the_data(prediction):
    scale = SCALE.double()
    drawn = exact(SCALE, torch.cat([LONG, torch.tensor([0.99])]), prediction).model(size=20_000)
    torch.testing.assert_close(drawn.std(0), scale, rtol=0.03, atol=0)
    assert (drawn.mean(0).abs() < 4 * scale / 20_000**0.5).all()


@every_prediction
@every_variance
@every_levels
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_terms_of_the_chain_are_those_of_the_papers(prediction, variance, levels, steps):
    betas = some_betas(steps)
    pair, x = arbitrary(prediction, variance, levels, betas=betas), some_data(levels)
    book = Textbook(pair, betas)
    q, p = traces(pair, x)
    first = kl_divergence(q.nodes[f"x_{steps}"]["fn"], p.nodes[f"x_{steps}"]["fn"])
    torch.testing.assert_close(first, book.prior(pair.centred(x)))
    for t in range(steps, 1, -1):
        ours = kl_divergence(q.nodes[f"x_{t - 1}"]["fn"], p.nodes[f"x_{t - 1}"]["fn"])
        torch.testing.assert_close(ours, book.term(x, q.nodes[f"x_{t}"]["value"], t))
    ours = p.nodes["x_0"]["fn"].log_prob(x)
    torch.testing.assert_close(-ours, book.term(x, q.nodes["x_1"]["value"], 1), rtol=1e-5, atol=1e-6)


@every_prediction
@every_variance
@every_levels
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_terms_of_a_single_step_are_those_of_the_papers(prediction, variance, levels, steps):
    betas = some_betas(steps)
    pair, x = arbitrary(prediction, variance, levels, betas=betas), some_data(levels, 50)
    book = Textbook(pair, betas)
    q, p = traces(pyvae.SingleStep(pair), x)
    t, noise = q.nodes["t"]["value"], q.nodes["noise"]["value"]
    assert set(t.tolist()) == set(range(1, steps + 1))
    torch.testing.assert_close(kl_divergence(q.nodes["x_T"]["fn"], p.nodes["x_T"]["fn"]), book.prior(pair.centred(x)))
    expected = torch.zeros(50).double()
    for s in range(1, steps + 1):
        rows = t == s
        x_t = book.noised(pair.centred(x[rows]), s, noise[rows])
        expected[rows] = -steps * book.term(x[rows], x_t, s)
    ours = p.nodes["x_0"]["fn"].log_prob(x)
    assert (ours[t > 1] == 0).all()
    ours = ours - kl_divergence(q.nodes["x_previous"]["fn"], p.nodes["x_previous"]["fn"])
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    for name in ("t", "noise"):  # they have no part in the ELBO
        value = q.nodes[name]["value"]
        assert torch.equal(q.nodes[name]["fn"].log_prob(value), p.nodes[name]["fn"].log_prob(value))


@every_prediction
@every_variance
@every_levels
def test_chain_forward_chain_single_step_and_papers_have_one_elbo(prediction, variance, levels):
    pair, x = arbitrary(prediction, variance, levels), some_data(levels)
    value, error = Textbook(pair, some_betas()).elbo(x, 2000)
    assert error < 0.02 * abs(value)
    for estimator, draws in ((pair, 500), (ForwardGuided(pair), 500), (pyvae.SingleStep(pair), 5000)):
        estimate = pyvae.elbo(estimator, x, num_particles=draws, seed=1)
        assert estimate.standard_error < 0.03 * abs(value)
        assert abs(estimate.value - value) < 3 * (estimate.standard_error**2 + error**2) ** 0.5
        torch.testing.assert_close(estimate.reconstruction - estimate.kl, estimate.per_datapoint, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_guides_have_one_density(levels, dtype):
    pair = pyvae.DiffusionVAE(pyvae.networks.TimeMLP(2), 2, pyvae.networks.LinearNoise(30), levels=levels).to(dtype)
    x = some_data(levels).to(dtype)
    for guide, other in (("guide", "forward_guide"), ("forward_guide", "guide")):
        q = poutine.trace(getattr(pair, guide)).get_trace(x)
        r = poutine.trace(poutine.replay(getattr(pair, other), trace=q)).get_trace(x)
        assert [n for n in q.nodes if n[0] == "x"] == [n for n in r.nodes if n[0] == "x"][::-1]
        assert torch.equal(q.nodes["x_30"]["value"], r.nodes["x_30"]["value"])
        torch.testing.assert_close(log_joint(q), log_joint(r), atol=1e-4, rtol=1e-5)


def test_terms_of_an_evaluation_are_those_of_the_steps():
    pair, x = arbitrary(), some_data(None)
    estimate = pyvae.elbo(pair, x, num_particles=400, seed=0)
    assert list(estimate.kl_terms) == [f"x_{t}" for t in range(10, 0, -1)]
    total = sum(estimate.kl_terms.values())
    torch.testing.assert_close(estimate.reconstruction - total, estimate.per_datapoint, atol=1e-4, rtol=0)
    book = Textbook(pair, some_betas())
    assert abs((estimate.kl_terms["x_10"] - book.prior(x)).mean()) < 0.05
    copies = x.repeat(400, 1)
    for t in (2, 5, 10):
        x_t = book.noised(copies, t, torch.randn_like(copies))
        expected = book.term(copies, x_t, t).reshape(400, -1).mean(0)
        spread = (estimate.kl_terms[f"x_{t - 1}"] - expected).std() + 0.05
        assert abs((estimate.kl_terms[f"x_{t - 1}"] - expected).mean()) < 4 * spread / len(x) ** 0.5
