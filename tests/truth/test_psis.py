"""Pareto smoothing: against ArviZ itself, against weights whose tail is known, and where there is no tail."""

import arviz as az
import numpy as np
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyvae
from pyvae.diagnostics import good_k, pareto_smoothed
from pyvae.errors import ArgumentError


def by_arviz(log_weights):
    """What ArviZ gives for one datapoint at a time, whichever version."""
    if "InferenceData" in vars(az):
        return az.psislw(log_weights.T.numpy())
    from arviz_stats.base import array_stats

    return array_stats.psislw(-log_weights.T.numpy())


def test_agrees_with_arviz():
    log_weights = 1.5 * torch.randn(500, 30, dtype=torch.float64)
    smoothed, k = pareto_smoothed(log_weights)
    expected, expected_k = by_arviz(log_weights)
    np.testing.assert_allclose(smoothed.T, expected, atol=1e-9)  # ours are normalized beforehand
    np.testing.assert_allclose(k, expected_k, atol=1e-9)
    assert smoothed.dtype == k.dtype == torch.float64


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_weights_of_a_known_tail(shape):
    """w = u^{−k} with u ~ U(0, 1) is Pareto's law of shape k from the first to the last weight."""
    draws, data = 10_000, 40
    tail = 3 * draws**0.5
    log_weights = -shape * torch.rand(draws, data, dtype=torch.float64).log()
    smoothed, k = pareto_smoothed(log_weights)
    shrunk = (tail * shape + 5) / (tail + 10)  # by the prior that the estimator has
    error = (1 + shape) / (tail * data) ** 0.5  # of the maximum of the likelihood; the estimator's bias is O(1 / tail)
    assert abs(k.mean() - shrunk) < 4 * error + 3 / tail
    torch.testing.assert_close(smoothed.logsumexp(0), torch.zeros(data, dtype=torch.float64), atol=1e-9, rtol=0)
    assert (smoothed.gather(0, log_weights.argsort(0)).diff(dim=0) > -1e-12).all()  # the order stays


def exact(dtype):
    """x ~ N(W z, I) with z ~ N(0, I), W with orthogonal columns, and its posterior N(Wᵀ x / (1 + s²), 1 / (1 + s²))."""
    s = 1.5
    weights = s * torch.linalg.qr(torch.randn(20, 3)).Q
    posterior = nn.Linear(20, 6)
    decoder = nn.Linear(3, 20)
    with torch.no_grad():
        decoder.weight.copy_(weights)
        decoder.bias.zero_()
        posterior.weight.copy_(torch.cat([weights.T / (1 + s**2), torch.zeros(3, 20)]))
        posterior.bias.copy_(torch.cat([torch.zeros(3), torch.full((3,), -np.log(1 + s**2))]))
    return pyvae.VAE(
        pyvae.priors.StandardNormal(3),
        pyvae.likelihoods.Normal(decoder, 20, scale=1.0),
        pyvae.guides.DiagonalNormal(posterior, 3),
    ).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_perfect_guide_has_k_zero(dtype):
    pair, x = exact(dtype), torch.randn(50, 20, dtype=dtype)
    log_weights = pyvae.log_weights(pair, x, num_particles=200)
    smoothed, k = pareto_smoothed(log_weights)
    assert torch.equal(k, torch.zeros(50, dtype=torch.float64))
    torch.testing.assert_close(smoothed, log_weights - log_weights.logsumexp(0))
    tree = pyvae.to_inference_data(pair, x, num_samples=200, predictive=None, seed=0)
    assert (tree["figures"]["pareto_k"] == 0).all()
    np.testing.assert_allclose(tree["figures"]["effective_sample_size"], 200, rtol=1e-4)


def test_a_guide_that_is_too_narrow_has_a_heavy_tail_and_one_too_wide_none():
    target = dist.Normal(0.0, 1.0)
    narrow, wide = dist.Normal(0.0, 0.4), dist.Normal(0.0, 1.5)
    found = []
    for guide in (narrow, wide):
        z = guide.sample((4000, 20))
        found.append(pareto_smoothed(target.log_prob(z) - guide.log_prob(z))[1].mean())
    assert found[0] > good_k(4000) > 0.3 > found[1]  # of the narrow one, k = 1 − 0.4² = 0.84 in the limit


def test_where_no_tail_can_be_fitted():
    log_weights = torch.zeros(100, 4)
    log_weights[0, 1] = 5.0  # one weight stands out from equal ones
    log_weights[:, 2] = -torch.inf
    log_weights[0, 2] = 0.0  # all mass on one draw
    log_weights[:, 3] += 1e-3 * torch.randn(100)  # the rounding of a network
    smoothed, k = pareto_smoothed(log_weights)
    assert k.tolist() == [0, torch.inf, torch.inf, 0]
    assert not smoothed.isnan().any()
    torch.testing.assert_close(smoothed.exp().sum(0), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("scale", [0.0, 1e-5, 0.005, 0.02, 1.0, 30.0, 500.0])
@pytest.mark.parametrize("draws", [25, 100, 1000])
def test_never_nan(scale, draws):
    log_weights = scale * torch.randn(draws, 20)
    smoothed, k = pareto_smoothed(log_weights)
    assert not smoothed.isnan().any()
    assert not k.isnan().any()


@pytest.mark.parametrize(
    ("log_weights", "match"),
    [
        (torch.zeros(24, 3), "24 samples per datapoint; expected at least 25"),
        (torch.zeros(30), r"\(30,\); expected a floating tensor \(S, N\)"),
        (torch.zeros(30, 2, dtype=torch.long), "expected a floating tensor"),
        (torch.zeros(30, 2).index_fill(1, torch.tensor(1), torch.nan), "datapoint 1 is nan"),
        (torch.zeros(30, 2).index_fill(1, torch.tensor(0), -torch.inf), "datapoint 0 is -inf"),
        (torch.zeros(30, 2).index_fill(0, torch.tensor(7), torch.inf), "datapoint 0 is inf"),
    ],
)
def test_weights_that_are_none_are_refused(log_weights, match):
    with pytest.raises(ArgumentError, match=match):
        pareto_smoothed(log_weights)


def test_good_k_is_that_of_the_paper():
    assert good_k(100) == pytest.approx(0.5)
    assert good_k(2000) == pytest.approx(1 - 1 / np.log10(2000))
    assert good_k(100_000) == 0.7
