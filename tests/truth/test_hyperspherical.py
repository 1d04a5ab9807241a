"""Distributions on the sphere against quadrature, Monte Carlo and closed forms in high precision."""

import functools
import math

import pyro
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceMeanField_ELBO
from scipy import integrate, stats
from torch import nn
from torch.distributions import kl_divergence

import pyvae
from pyvae import guides, priors, recipes
from pyvae.distributions import HypersphericalUniform, PowerSpherical
from pyvae.errors import ArgumentError, PairError
from pyvae.objectives.default import default_objective

LIKE = torch.zeros((), dtype=torch.float64)


def a_direction(dim, dtype=torch.float64):
    return nn.functional.normalize(torch.randn(dim, dtype=dtype), dim=-1)


def a_power_spherical(dim, kappa):
    return PowerSpherical(a_direction(dim), torch.tensor(kappa, dtype=torch.float64))


@pytest.mark.parametrize("kappa", [0.3, 2.0, 40.0])
def test_integrates_to_one_on_the_circle(kappa):
    p = a_power_spherical(2, kappa)

    def density(angle):
        return p.log_prob(torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)).exp().item()

    mode = math.atan2(p.loc[1], p.loc[0])
    total, _ = integrate.quad(density, mode - math.pi, mode + math.pi, points=[mode])
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dim", [2, 3, 5, 12])
def test_integrates_to_one_in_any_dimension(dim):
    uniform = HypersphericalUniform(dim, LIKE)
    z = uniform.sample([200_000])
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(len(z), dtype=torch.float64))
    ratio = (a_power_spherical(dim, 3.0).log_prob(z) - uniform.log_prob(z)).exp()
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / len(z) ** 0.5


@pytest.mark.parametrize("kappa", [0.5, 10.0, 1e4])
@pytest.mark.parametrize("dim", [2, 3, 8])
def test_draws_have_the_density(dim, kappa):
    """The cosine with μ is 2 T − 1 with T ~ Beta; mean and variance are as told."""
    p = a_power_spherical(dim, kappa)
    z = p.sample([50_000])
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(len(z), dtype=torch.float64))
    beta = (dim - 1) / 2
    shares = ((1 + z @ p.loc) / 2).clamp(0, 1).numpy()
    assert stats.kstest(shares, stats.beta(beta + kappa, beta).cdf).pvalue > 1e-3
    error = 5 * p.variance.sqrt() / len(z) ** 0.5
    assert ((z.mean(0) - p.mean).abs() < error).all()
    torch.testing.assert_close(z.var(0), p.variance, rtol=0.05, atol=1e-8)


def test_directions_across_are_uniform():
    """Whatever μ, also where the reflection changes its sign: what is across μ has no direction of its own."""
    for loc in ([1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1e-9, 0.0, -1.0], [-0.6, 0.8, 0.0]):
        loc = torch.tensor(loc, dtype=torch.float64)
        z = PowerSpherical(loc, LIKE + 5).sample([40_000])
        across = nn.functional.normalize(z - (z @ loc).unsqueeze(-1) * loc, dim=-1)
        projector = torch.eye(3, dtype=torch.float64) - torch.outer(loc, loc)
        torch.testing.assert_close(across.T @ across / len(z), projector / 2, rtol=0, atol=0.02)
        assert across.mean(0).abs().max() < 0.02


@pytest.mark.parametrize("kappa", [0.2, 5.0, 300.0])
@pytest.mark.parametrize("dim", [2, 4])
def test_entropy_and_kl(dim, kappa):
    q, p = a_power_spherical(dim, kappa), HypersphericalUniform(dim, LIKE)
    terms = q.log_prob(q.sample([100_000]))
    error = 5 * terms.std() / len(terms) ** 0.5
    assert abs(terms.mean() + q.entropy()) < error
    assert abs((terms - p.log_prob(p.sample())).mean() - kl_divergence(q, p)) < error
    assert kl_divergence(q.expand([3, 2]), p.expand([3, 2])).shape == (3, 2)


def test_uniform_without_concentration():
    q, p = a_power_spherical(4, 1e-9), HypersphericalUniform(4, LIKE)
    torch.testing.assert_close(q.log_prob(p.sample([5])), p.log_prob(p.sample([5])))
    assert kl_divergence(q, p).item() == pytest.approx(0, abs=1e-7)
    assert p.entropy().item() == pytest.approx(math.log(2 * math.pi**2))


@pytest.mark.parametrize("kappa", [1e-6, 1.0, 1e3, 1e6, 1e8])
@pytest.mark.parametrize("dim", [2, 16])
def test_single_precision(dim, kappa):
    """Densities of its own draws agree with double precision, and have finite gradients."""
    loc = a_direction(dim, torch.float32).requires_grad_()
    log_kappa = torch.tensor(kappa).log().requires_grad_()
    q = PowerSpherical(loc, log_kappa.exp(), validate_args=False)
    z = q.rsample([2000])
    assert z.isfinite().all()
    log_prob = q.log_prob(z)
    exact = PowerSpherical(loc.detach().double(), log_kappa.detach().exp().double(), validate_args=False)
    exact_log_prob = exact.log_prob(nn.functional.normalize(z.detach().double(), dim=-1))
    torch.testing.assert_close(log_prob.detach().double(), exact_log_prob, rtol=1e-4, atol=0.02 * (1 + kappa / 1e6))
    torch.testing.assert_close(q.entropy().detach().double(), exact.entropy(), rtol=1e-5, atol=1e-4)
    (log_prob.mean() + q.entropy() + z.square().sum()).backward()
    assert loc.grad.isfinite().all()
    assert log_kappa.grad.isfinite()


def test_beside_and_opposite_to_the_mean():
    q = PowerSpherical(torch.tensor([0.0, 1.0], requires_grad=True), torch.tensor(2.0))
    log_prob = q.log_prob(torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0]]))
    assert log_prob.isfinite().all()
    assert log_prob[1] < -100
    gradient = torch.autograd.grad(log_prob.sum(), q.loc)[0]
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dim", [2, 3])
def test_reparametrized_gradient(dim):
    """The gradient of E[zᵀa] is that of the mean's closed form."""
    weights = a_direction(dim)
    raw = torch.randn(dim + 1, dtype=torch.float64, requires_grad=True)

    def make():
        return PowerSpherical(nn.functional.normalize(raw[:-1], dim=-1), raw[-1].exp())

    estimate = torch.autograd.grad((make().rsample([300_000]) @ weights).mean(), raw)[0]
    exact = torch.autograd.grad(make().mean @ weights, raw)[0]
    torch.testing.assert_close(estimate, exact, rtol=0, atol=0.01)


def a_pair(make=recipes.gaussian, **options):
    return make(
        shape=(5,), latent_dim=3, prior=priors.HypersphericalUniform, posterior=guides.PowerSpherical, **options
    )


def test_the_closed_form_is_used_and_agrees():
    pair, x = a_pair(hidden=[8]), torch.rand(6, 5).round()
    assert isinstance(default_objective(pyvae.inspection.inspect_pair(pair, (x,))), TraceMeanField_ELBO)
    analytic, sampled = (cls(3000, vectorize_particles=True) for cls in (TraceMeanField_ELBO, Trace_ELBO))
    assert analytic.loss(pair.model, pair.guide, x) == pytest.approx(sampled.loss(pair.model, pair.guide, x), abs=0.3)


def test_trained_saved_and_drawn(tmp_path):
    pair, x = a_pair(functools.partial(recipes.conditional, num_classes=3), hidden=[8]), torch.rand(16, 5).round()
    y = torch.arange(16) % 3
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO(2, vectorize_particles=True))
    assert all(math.isfinite(svi.step(x, y)) for _ in range(2))
    pyvae.fit(pair, (x, y), epochs=2, batch_size=8, seed=0, progress=False)
    pyvae.save(tmp_path / "pair.safetensors", pair)
    loaded = pyvae.load(tmp_path / "pair.safetensors")
    c = pair.context(y)
    assert torch.equal(loaded.posterior(x, c).mean, pair.posterior(x, c).mean)
    for parallel in (False, True):
        z = Predictive(pair.model, guide=pair.guide, num_samples=3, parallel=parallel)(x, y)["z"]
        torch.testing.assert_close(z.squeeze().norm(dim=-1), torch.ones(3, 16))


def test_expand_and_mask():
    q = a_power_spherical(3, 2.0).expand([4, 5])
    z = q.rsample([2])
    assert z.shape == (2, 4, 5, 3)
    masked = q.mask(torch.arange(5) > 2).log_prob(z)
    assert (masked[..., :3] == 0).all()
    torch.testing.assert_close(masked[..., 3:], q.log_prob(z)[..., 3:])


def test_refusals():
    for make in (priors.HypersphericalUniform, functools.partial(guides.PowerSpherical, nn.Identity())):
        for shape in (1, (2, 3)):
            with pytest.raises(ArgumentError, match="at least 2"):
                make(shape)
    with pytest.raises(ArgumentError, match="at least 2"):
        PowerSpherical(torch.ones(4, 1), torch.ones(4))
    with pytest.raises(PairError, match=r"expected \(\.\.\., 4\)"):
        guides.PowerSpherical(nn.Linear(5, 3), 3)(torch.zeros(2, 5))
    with pytest.raises(ValueError, match="loc"):
        PowerSpherical(torch.ones(3), torch.tensor(1.0))
    with pytest.raises(ValueError, match="support"):
        a_power_spherical(3, 1.0).log_prob(torch.ones(3, dtype=torch.float64))
