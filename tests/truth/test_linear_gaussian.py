"""The linear-Gaussian VAE is probabilistic PCA (Tipping and Bishop, 1999), where everything has a closed form."""

import functools

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from torch import nn

import pyvae

LATENTS = 8


@pytest.fixture(scope="module")
def digits():
    return torch.as_tensor(load_digits().data / 16)  # float64: 1797 × 64


@pytest.fixture(scope="module")
def solution(digits):
    """The maximum of the likelihood: W = U (Λ − σ²)^½, σ² the mean of the eigenvalues that are left out."""
    mean = digits.mean(0)
    eigenvalues, eigenvectors = torch.linalg.eigh((digits - mean).T @ (digits - mean) / len(digits))
    eigenvalues, eigenvectors = eigenvalues.flip(0), eigenvectors.flip(1)
    variance = eigenvalues[LATENTS:].mean()
    weights = eigenvectors[:, :LATENTS] * (eigenvalues[:LATENTS] - variance).sqrt()
    return weights, mean, variance


def log_marginal(x, weights, mean, variance):
    """log N(x; m, W Wᵀ + σ² I), by scipy."""
    covariance = (weights @ weights.T + variance * torch.eye(len(mean), dtype=mean.dtype)).numpy()
    return torch.as_tensor(multivariate_normal(mean.numpy(), covariance).logpdf(x.numpy()))


def linear_vae(dimension=64, latents=LATENTS, learn_scale=True):
    return pyvae.VAE(
        prior=pyvae.priors.StandardNormal(latents),
        likelihood=pyvae.likelihoods.Normal(nn.Linear(latents, dimension), dimension, learn_scale=learn_scale),
        posterior=pyvae.guides.DiagonalNormal(nn.Linear(dimension, 2 * latents), latents),
    ).double()


def exact_vae(solution):
    """The linear VAE at the solution, with q(z | x) = N(M⁻¹ Wᵀ (x − m), σ² M⁻¹), M = Wᵀ W + σ² I, which is diagonal."""
    weights, mean, variance = solution
    vae = linear_vae()
    precision = (weights.T @ weights).diagonal() + variance
    gain = weights.T / precision[:, None]
    with torch.no_grad():
        vae.likelihood.network.weight.copy_(weights)
        vae.likelihood.network.bias.copy_(mean)
        vae.likelihood.log_scale.copy_(variance.log() / 2)
        vae.posterior.network.weight.copy_(torch.cat([gain, torch.zeros_like(gain)]))
        vae.posterior.network.bias.copy_(torch.cat([-gain @ mean, (variance / precision).log()]))
    return vae


def test_elbo_of_the_exact_posterior_is_the_marginal_likelihood(digits, solution):
    estimate = pyvae.elbo(exact_vae(solution), digits, num_particles=3)
    torch.testing.assert_close(estimate.per_datapoint, log_marginal(digits, *solution), atol=1e-5, rtol=0)
    assert estimate.standard_error < 1e-8


def test_single_precision_weights_of_the_exact_posterior_are_constant_to_rounding(digits, solution):
    weights = pyvae.log_weights(exact_vae(solution).float(), digits.float(), num_particles=20)
    assert weights.dtype == torch.float64
    assert weights.std(0).max() < 1e-3


class Shifted(nn.Module):
    """A guide off the exact one by a shift of its mean, in posterior standard deviations, and a factor of its scale."""

    def __init__(self, guide, shift, factor):
        super().__init__()
        self.guide, self.shift, self.factor = guide, shift, factor

    def forward(self, x):
        exact = self.guide(x).base_dist
        return dist.Normal(exact.loc + self.shift * exact.scale, exact.scale * self.factor).to_event(1)


@pytest.mark.parametrize(("shift", "factor"), [(0.5, 1.0), (0.0, 0.5), (0.0, 2.0), (-0.3, 0.7)])
def test_elbo_of_any_other_guide_falls_short_by_the_kl(digits, solution, shift, factor):
    vae = exact_vae(solution)
    vae.posterior = Shifted(vae.posterior, shift, factor)
    estimate = pyvae.elbo(vae, digits[:200], num_particles=500, seed=0)
    gap = log_marginal(digits[:200], *solution) - estimate.per_datapoint
    kl = LATENTS * (-np.log(factor) + (factor**2 + shift**2 - 1) / 2)  # KL(q ‖ exact), in closed form
    assert (gap > 0).all()
    assert abs(gap.mean() - kl) < 4 * estimate.standard_error


def test_log_likelihood_rises_with_the_particles_to_the_exact_value(digits, solution):
    vae = exact_vae(solution)
    vae.posterior = Shifted(vae.posterior, 0.3, 1.1)
    x = digits[:300]
    exact = log_marginal(x, *solution).mean()
    values = [pyvae.elbo(vae, x, num_particles=100).value]
    values += [pyvae.log_likelihood(vae, x, num_particles=k, seed=k).value for k in (5, 50, 500)]
    assert values == sorted(values)
    last = pyvae.log_likelihood(vae, x, num_particles=5000, seed=1)
    assert abs(last.value - exact) < 3 * last.standard_error + 1e-3


@pytest.mark.slow
def test_a_trained_linear_vae_reaches_probabilistic_pca(digits, solution):
    best = log_marginal(digits, *solution).mean()
    vae = linear_vae()
    pyvae.fit(
        vae,
        digits,
        optimizer=functools.partial(torch.optim.Adam, lr=3e-2),
        schedule=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 350),
        epochs=350,
        batch_size=128,
        seed=0,
        progress=False,
    )
    estimate = pyvae.elbo(vae, digits, num_particles=200, seed=0)
    assert best - 0.05 < estimate.value <= best + 3 * estimate.standard_error


def test_evaluation_keeps_elbo_below_the_importance_weighted_bound(digits):
    evaluation = pyvae.evaluate(linear_vae(), digits[:50], num_particles=20, seed=0)
    assert (evaluation.elbo.per_datapoint <= evaluation.log_likelihood.per_datapoint).all()
    figures = evaluation.figures()
    assert figures["elbo"] == pytest.approx(figures["reconstruction"] - figures["kl"])
    assert figures["bits_per_dimension"] == pytest.approx(-figures["log_likelihood"] / 64 / np.log(2))
