"""Log weights against sums written by hand, on programs with every construct that changes a density or a scale."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.distributions import Bernoulli, Normal

import pyvae
from pyvae.evaluation.estimates import elbo_estimate, likelihood_estimate

ROWS, PIXELS = 6, 4


class Base(nn.Module):
    """q(z | x) = N(a x̄, s²), p(z) = N(0, 1), p(x | z) = Π N(x_i; w_i z, 1)."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(PIXELS))
        self.a = nn.Parameter(torch.tensor(0.3))
        self.log_s = nn.Parameter(torch.tensor(-0.5))

    def guide(self, x):
        with pyro.plate("data", len(x)):
            return pyro.sample("z", dist.Normal(self.a * x.mean(-1), self.log_s.exp()))

    def by_hand(self, x, z):
        """log p(x | z) and log p(z) − log q(z | x) for z of shape (S, N), in float64."""
        x, z, w = x.double(), z.double(), self.w.detach().double()
        q = Normal(self.a.detach().double() * x.mean(-1), self.log_s.detach().double().exp())
        likelihood = Normal(w * z[..., None], 1.0).log_prob(x).sum(-1)
        return likelihood, Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)


class ToEvent(Base):
    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(self.w * z[..., None], 1.0).to_event(1), obs=x)


class PixelPlate(Base):
    """The data at dim -2, the pixels in a plate of their own; the latent stands at dim -2 as well."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0))
            with pyro.plate("pixels", PIXELS, dim=-1):
                pyro.sample("x", dist.Normal(self.w * z, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-2):
            return pyro.sample("z", dist.Normal(self.a * x.mean(-1, keepdim=True), self.log_s.exp()))


class Scaled(ToEvent):
    """Annealing and mini-batch scaling change training, never the weights."""

    def model(self, x):
        with poutine.scale(scale=0.1), pyro.plate("data", 1000, subsample=x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with poutine.scale(scale=7.0):
                pyro.sample("x", dist.Normal(self.w * z[..., None], 1.0).to_event(1), obs=x)

    def guide(self, x):
        with poutine.scale(scale=0.1), pyro.plate("data", 1000, subsample=x):
            return pyro.sample("z", dist.Normal(self.a * x.mean(-1), self.log_s.exp()))


class TwoSites(ToEvent):
    """The pixels as two observed sites, a quantity kept by pyro.deterministic, and a factor of log 2 per datapoint."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.deterministic("twice", 2 * z)
            pyro.sample("left", dist.Normal(self.w[:2] * z[..., None], 1.0).to_event(1), obs=x[:, :2])
            pyro.sample("right", dist.Normal(self.w[2:] * z[..., None], 1.0).to_event(1), obs=x[:, 2:])
            pyro.factor("bonus", z.new_full((len(x),), math.log(2)))


class Masked(ToEvent):
    """The first half of the rows do not count."""

    def model(self, x):
        mask = torch.arange(len(x)) >= len(x) // 2
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with poutine.mask(mask=mask):
                pyro.sample("x", dist.Normal(self.w * z[..., None], 1.0).to_event(1), obs=x)


def recorded(pair, x, num_particles):
    """Log weights, and the latents that they belong to: those of the same seed in a run by hand."""
    drawn = []
    original = pair.guide

    def guide(*args):
        drawn.append(original(*args))
        return drawn[-1]

    pair.guide = guide
    weights = pyvae.log_weights(pair, x, num_particles=num_particles)
    z = drawn[-1]
    return weights, z.reshape(num_particles, len(x))


@pytest.mark.parametrize("make", [ToEvent, PixelPlate, Scaled, TwoSites, Masked])
@pytest.mark.parametrize("num_particles", [1, 5])
def test_weights_equal_the_sum_by_hand(make, num_particles):
    pair, x = make(), torch.randn(ROWS, PIXELS)
    weights, z = recorded(pair, x, num_particles)
    likelihood, latent = pair.by_hand(x, z.detach())
    if make is TwoSites:
        likelihood = likelihood + math.log(2)
    if make is Masked:
        likelihood = likelihood * (torch.arange(ROWS) >= ROWS // 2)
    assert weights.dtype == torch.float64
    torch.testing.assert_close(weights, likelihood + latent, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("max_memory", [1, 500, 5_000, 2**29])
@pytest.mark.parametrize("make", [ToEvent, PixelPlate])
def test_memory_bound_changes_nothing_in_the_mean(make, max_memory):
    pair, x = make(), torch.randn(23, PIXELS)
    reference = pyvae.elbo(pair, x, num_particles=2000, seed=1)
    bounded = pyvae.elbo(pair, x, num_particles=40, seed=2, max_memory=max_memory)
    assert bounded.per_datapoint.shape == (23,)
    spread = bounded.standard_errors + reference.standard_errors
    assert ((bounded.per_datapoint - reference.per_datapoint).abs() < 5 * spread).all()


class OneBatchDimension(Base):
    """Particles have to be copies of the data; the other argument is a constant."""

    def model(self, x, noise):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            assert z.dim() == 1
            pyro.sample("x", dist.Normal(z[:, None].expand(-1, PIXELS), noise.norm()).to_event(1), obs=x)

    def guide(self, x, noise):
        return super().guide(x)


@pytest.mark.parametrize("max_memory", [1_000, 2_000, 4_000, 8_000, 16_000])
def test_constants_that_are_as_long_as_a_slice_are_no_data(max_memory):
    pair, x = OneBatchDimension(), torch.randn(23, PIXELS)

    def weights(noise):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return pyvae.log_weights(pair, x, noise, num_particles=4, max_memory=max_memory)

    expected = weights(torch.tensor(2.0))
    for length in range(1, 17):
        constant = torch.eye(1, length)[0] * 2
        torch.testing.assert_close(weights(constant), expected)


def test_discrete_latents_sum_to_the_marginal():
    class Mixture(nn.Module):
        def model(self, x):
            with pyro.plate("data", len(x)):
                k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7])))
                pyro.sample("x", dist.Normal(2.0 * k.to(x.dtype) - 1.0, 1.0), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("k", dist.Categorical(torch.ones(len(x), 2)))

    x = torch.randn(5).double()
    joint = torch.stack([Normal(m, 1.0).log_prob(x) + math.log(p) for m, p in ((-1.0, 0.3), (1.0, 0.7))])
    estimate = pyvae.log_likelihood(Mixture(), x, num_particles=20_000, seed=0)
    assert ((estimate.per_datapoint - joint.logsumexp(0)).abs() < 5 * estimate.standard_errors).all()


def test_binary_images_lose_no_digits_in_single_precision():
    """784 pixels summed in float32 would be off by 1e-4 and more."""
    logits = torch.randn(784) * 3
    vae = pyvae.VAE(
        pyvae.priors.StandardNormal(1),
        pyvae.likelihoods.Bernoulli(_Constant(logits), 784),
        pyvae.guides.DiagonalNormal(_Constant(torch.zeros(2)), 1),
    )
    x = torch.rand(5, 784).round()
    weights = pyvae.log_weights(vae, x, num_particles=3)  # q(z | x) is the prior, so that the latents cancel
    exact = Bernoulli(logits=logits.double()).log_prob(x.double()).sum(-1)
    assert (weights - exact).abs().max() < 2e-5


class _Constant(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(value)

    def forward(self, x):
        return self.value.expand(*x.shape[:-1], -1)


def test_standard_errors_cover():
    """Over 400 repetitions, both errors are the spread that the estimates have."""
    torch.manual_seed(0)
    latent, reconstruction = torch.randn(400, 30, 8).double(), torch.randn(400, 30, 8).double()
    for make in (elbo_estimate, lambda r, z: likelihood_estimate(r + z["z"])):
        estimates = [make(r, {"z": z}) for r, z in zip(reconstruction * 0.3, latent * 0.3, strict=True)]
        spread = torch.stack([e.per_datapoint for e in estimates]).std(0)
        claimed = torch.stack([e.standard_errors for e in estimates]).square().mean(0).sqrt()
        torch.testing.assert_close(claimed, spread, rtol=0.15, atol=0)
        values = torch.tensor([e.value for e in estimates]).std()
        assert torch.tensor([e.standard_error for e in estimates]).mean() == pytest.approx(values.item(), rel=0.15)


def test_a_single_particle_has_no_error_to_tell():
    estimate = pyvae.elbo(ToEvent(), torch.randn(5, PIXELS), num_particles=1)
    assert math.isnan(estimate.standard_error)
    assert math.isfinite(estimate.dataset_standard_error)
