"""Normal guides with correlations, and guides that are flows, against answers of others."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceMeanField_ELBO
from scipy.stats import multivariate_normal
from torch import nn
from torch.distributions import kl_divergence

import pyvae
from pyvae import guides, priors, recipes
from pyvae.errors import ArgumentError, PairError
from pyvae.objectives.default import default_objective

D = 3
CORRELATED = [guides.FullRankNormal, guides.LowRankNormal]
FLOWS = [guides.InverseAutoregressiveFlow, guides.ConditionalSplineFlow]
every_correlated = pytest.mark.parametrize("cls", CORRELATED, ids=lambda c: c.__name__)
every_flow = pytest.mark.parametrize("cls", FLOWS, ids=lambda c: c.__name__)


def a_guide(cls, shape=D, width=4, **options):
    (outputs,) = cls(nn.Identity(), shape, **options).output_shape
    return cls(nn.Linear(width, outputs), shape, **options).double()


def covariance_by_hand(guide, x):
    """From the encoder's output, element by element."""
    output = guide.network(x)
    loc, log_scale, rest = output[:D], output[D : 2 * D], output[2 * D :]
    if isinstance(guide, guides.LowRankNormal):
        factor = rest.reshape(D, 2)
        return loc, factor @ factor.T + torch.diag(log_scale.exp())
    lower = torch.diag(log_scale.exp())
    lower[1, 0], lower[2, 0], lower[2, 1] = rest
    return loc, lower @ lower.T


@every_correlated
def test_density_and_moments(cls):
    guide = a_guide(cls)
    x, z = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, D, dtype=torch.float64)
    q = guide(x)
    for row in range(5):
        loc, covariance = (t.detach().numpy() for t in covariance_by_hand(guide, x[row]))
        expected = multivariate_normal(loc, covariance).logpdf(z[row].numpy())
        assert q.log_prob(z)[row].item() == pytest.approx(expected)
        np.testing.assert_allclose(q.covariance_matrix[row].detach().numpy(), covariance)
    draws = guide(x[0]).sample([100_000])
    torch.testing.assert_close(draws.T.cov(), q.covariance_matrix[0].detach(), rtol=0.05, atol=0.03)


@every_correlated
def test_kl_is_that_of_two_full_normals(cls):
    q = a_guide(cls)(torch.randn(5, 4, dtype=torch.float64))
    loc, scale = torch.randn(D, dtype=torch.float64), torch.rand(5, D, dtype=torch.float64) + 0.5
    p = dist.Normal(loc, scale).to_event(1)
    full = dist.MultivariateNormal(q.loc, q.covariance_matrix)
    expected = kl_divergence(full, dist.MultivariateNormal(loc, scale.square().diag_embed()))
    torch.testing.assert_close(kl_divergence(q, p), expected)
    torch.testing.assert_close(kl_divergence(q.expand([2, 5]), p.expand([2, 5])), expected.expand(2, 5))
    assert kl_divergence(q, p).shape == (5,)
    with pytest.raises(NotImplementedError):
        kl_divergence(q, dist.Laplace(loc, scale).to_event(1))


@every_correlated
def test_mean_field_objective_is_chosen_and_agrees(cls):
    pair = recipes.gaussian((5,), D, [8], posterior=cls)
    x = torch.rand(6, 5).round()
    assert isinstance(default_objective(pyvae.inspection.inspect_pair(pair, (x,))), TraceMeanField_ELBO)
    analytic = TraceMeanField_ELBO(2000, vectorize_particles=True).loss(pair.model, pair.guide, x)
    sampled = Trace_ELBO(2000, vectorize_particles=True).loss(pair.model, pair.guide, x)
    assert analytic == pytest.approx(sampled, abs=0.4)


def test_full_rank_finds_a_correlated_posterior():
    """x = z_1 + z_2 + noise: the exact posterior is normal, with a known covariance."""
    weights, noise = torch.ones(2), 0.5
    exact = torch.linalg.inv(torch.eye(2) + torch.outer(weights, weights) / noise**2)

    class Sum(nn.Module):
        def forward(self, z):
            return (z @ weights).unsqueeze(-1)

    vae = pyvae.VAE(
        priors.StandardNormal(2),
        pyvae.likelihoods.Normal(Sum(), 1, scale=noise, learn_scale=False),
        guides.FullRankNormal(nn.Linear(1, 5), 2),
    )
    x = math.sqrt(2 + noise**2) * torch.randn(256, 1)
    optimizer = torch.optim.Adam(vae.parameters(), 0.1)
    objective = TraceMeanField_ELBO(4, vectorize_particles=True, max_plate_nesting=2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        optimizer.zero_grad()
        objective.differentiable_loss(vae.model, vae.guide, x).backward()
        optimizer.step()
        schedule.step()
    posterior = dist.MultivariateNormal(x / noise**2 * (exact @ weights), exact)
    assert 0 <= kl_divergence(vae.posterior(x), posterior).mean() < 0.02
    assert kl_divergence(dist.MultivariateNormal(posterior.mean, exact.diagonal().diag()), posterior).mean() > 0.2


@every_flow
@pytest.mark.parametrize("dim", [1, 3])
def test_flow_density_is_that_of_its_draws(cls, dim):
    """log q(z) = log p(u) − log abs det ∂z/∂u, where u are the draws of the base from the same random stream."""
    guide = a_guide(cls, dim, context_features=4, hidden=[8])
    x = torch.randn(4, dtype=torch.float64)
    q = guide(x)
    torch.manual_seed(1)
    u = q.base.rsample()
    torch.manual_seed(1)
    z = q.rsample()
    jacobian = torch.autograd.functional.jacobian(q.transform.inv, u.detach())
    expected = q.base.log_prob(u) - torch.linalg.det(jacobian).abs().log()
    torch.testing.assert_close(q.log_prob(z), expected)
    torch.testing.assert_close(q.log_prob(z.clone()), expected)


@every_flow
def test_flow_guides_score_their_own_draws_without_going_back(cls):
    guide = a_guide(cls, context_features=4, hidden=[8])
    q = guide(torch.randn(6, 4, dtype=torch.float64))
    calls = []
    for layer in guide.transform.transforms:
        layer.hyper.register_forward_hook(lambda *_: calls.append(1))
    z = q.rsample()
    drawn = len(calls)
    log_q = q.log_prob(z)
    assert len(calls) == drawn == len(guide.transform.transforms)
    parameters = list(guide.parameters())
    ours = torch.autograd.grad(log_q.sum(), parameters, retain_graph=True)
    theirs = torch.autograd.grad(q.log_prob(z.clone()).sum(), parameters)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


@every_flow
@pytest.mark.parametrize("particles", [1, 3])
def test_objectives_take_one_pass_through_each_layer(cls, particles):
    pair = recipes.gaussian((5,), D, [8], posterior=cls)
    calls = []
    for layer in pair.posterior.transform.transforms:
        layer.hyper.register_forward_hook(lambda *_: calls.append(1))
    objective = Trace_ELBO(particles, vectorize_particles=True, max_plate_nesting=1 + (particles > 1))
    objective.loss_and_grads(pair.model, pair.guide, torch.rand(6, 5).round())
    assert len(calls) == len(pair.posterior.transform.transforms)


def test_iaf_is_autoregressive_and_starts_at_the_encoders_normal():
    guide = a_guide(guides.InverseAutoregressiveFlow, context_features=4, transforms=1, hidden=[8])
    q = guide(torch.randn(4, dtype=torch.float64))
    jacobian = torch.autograd.functional.jacobian(q.transform.inv, torch.randn(D, dtype=torch.float64))
    assert (jacobian.triu(1) == 0).all()
    assert (jacobian.diagonal() > 0).all()
    loc, log_variance, _ = guide.network(torch.zeros(4, dtype=torch.float64)).split([D, D, 4])
    base = guide(torch.zeros(4, dtype=torch.float64)).base
    torch.testing.assert_close(base.mean, loc)
    torch.testing.assert_close(base.variance, log_variance.exp())


@pytest.mark.parametrize("cls", [*CORRELATED, *FLOWS], ids=lambda c: c.__name__)
def test_trained_saved_and_drawn(cls, tmp_path):
    pair = recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8], prior=priors.NeuralSplineFlow, posterior=cls)
    x = torch.rand(16, 5).round()
    before = [p.detach().clone() for p in pair.parameters()]
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO(2, vectorize_particles=True))
    assert all(math.isfinite(svi.step(x)) for _ in range(2))
    assert all(not torch.equal(b, p) for b, p in zip(before, pair.parameters(), strict=True))
    pyvae.fit(pair, x, epochs=1, batch_size=8, seed=0, progress=False)
    pyvae.save(tmp_path / "pair.safetensors", pair)
    loaded = pyvae.load(tmp_path / "pair.safetensors")
    z = torch.randn(16, 2)
    assert torch.equal(loaded.posterior(x).log_prob(z), pair.posterior(x).log_prob(z))
    for parallel in (False, True):
        draws = Predictive(pair.model, guide=pair.guide, num_samples=3, parallel=parallel)(x)
        assert draws["z"].squeeze().shape == (3, 16, 2)


def test_refusals():
    for cls in (*CORRELATED, *FLOWS):
        with pytest.raises(ArgumentError, match="vector"):
            cls(nn.Identity(), (2, 3))
        with pytest.raises(PairError, match="expected"):
            cls(nn.Linear(4, 3), 3)(torch.zeros(5, 4))
    with pytest.raises(ArgumentError, match="rank"):
        guides.LowRankNormal(nn.Identity(), 3, rank=0)


def test_conditional_mixture():
    prior = priors.ConditionalNormalMixture(nn.Linear(4, 15), 2, num_components=3).double()
    c, z = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    p = prior(c)
    for row in range(5):
        output = prior.network(c[row]).detach()
        weights, loc, variance = output[:3].softmax(0), output[3:9].reshape(3, 2), output[9:].exp().reshape(3, 2)
        density = sum(
            w * multivariate_normal(m, np.diag(v)).pdf(z[row])
            for w, m, v in zip(weights.numpy(), loc.numpy(), variance.numpy(), strict=True)
        )
        assert p.log_prob(z)[row].item() == pytest.approx(math.log(density))
    with pytest.raises(ArgumentError, match="num_components"):
        priors.ConditionalNormalMixture(nn.Identity(), 2, num_components=0)
