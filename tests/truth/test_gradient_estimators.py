"""Gradients of objectives of importance weights beside those of their bounds, which quadrature knows."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyvae
from pyvae.objectives import (
    CIWAE,
    MIWAE,
    VIMCO,
    DReG,
    ImportanceWeightedELBO,
    ReweightedWakeSleep,
    VariationalRenyiBound,
)
from tests.compilation.comparing import assert_equal_to_eager

X = 1.3
NAMES = ("above", "below", "out", "to_z2", "spread2", "to_z1", "spread1")


class Unreparametrized(dist.Normal):
    """A normal whose draws have no gradient."""

    has_rsample = False


class Chain(nn.Module):
    """z_1 ~ N(0, 1), z_2 ~ N(a z_1, b²), x ~ N(c z_2, 1); q(z_2 | x) = N(d x, s²), q(z_1 | z_2) = N(e z_2, t²)."""

    def __init__(self, normal=dist.Normal):
        super().__init__()
        for name, value in zip(NAMES, (0.8, 0.9, 1.1, 0.3, 0.8, 0.5, 1.2), strict=True):
            self.register_parameter(name, nn.Parameter(torch.tensor(value)))
        self.normal = normal

    def model(self, x):
        pyro.module("chain", self)
        with pyro.plate("data", len(x)):
            z1 = pyro.sample("z_1", dist.Normal(torch.zeros_like(self.above), 1.0))
            z2 = pyro.sample("z_2", dist.Normal(self.above * z1, self.below))
            pyro.sample("x", dist.Normal(self.out * z2, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z_2", self.normal(self.to_z2 * x, self.spread2))
            pyro.sample("z_1", self.normal(self.to_z1 * z2, self.spread1))


def nodes(count=20):
    """(weights, ε) of a quadrature over two particles of two normal variables each."""
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    points, weights = torch.from_numpy(points), torch.from_numpy(weights / math.sqrt(2 * math.pi))
    grid = torch.cartesian_prod(*[points] * 4).reshape(-1, 2, 2)
    return torch.cartesian_prod(*[weights] * 4).prod(-1), grid.movedim(1, 0)


def log_densities(chain, noise):
    """log p(x, z) and log q(z | x), (particles, nodes), of z from noise (particles, nodes, 2)."""
    normal = torch.distributions.Normal
    z2 = chain.to_z2 * X + chain.spread2 * noise[..., 1]
    z1 = chain.to_z1 * z2 + chain.spread1 * noise[..., 0]
    q = normal(chain.to_z2 * X, chain.spread2), normal(chain.to_z1 * z2, chain.spread1)
    p = normal(torch.zeros(()).double(), 1.0), normal(chain.above * z1, chain.below), normal(chain.out * z2, 1.0)
    x = torch.tensor(X).double()
    return p[0].log_prob(z1) + p[1].log_prob(z2) + p[2].log_prob(x), q[0].log_prob(z2) + q[1].log_prob(z1)


def exact(bound):
    """Value and gradient of E[bound(log w)] for two particles."""
    chain = Chain().double()
    weights, noise = nodes()
    model, guide = log_densities(chain, noise)
    value = (weights * bound(model - guide)).sum()
    return value.detach(), torch.stack(torch.autograd.grad(value, [getattr(chain, n) for n in NAMES]))


def estimated(objective, normal=dist.Normal, batches=300, rows=400):
    """Mean and standard error of value and gradient, for one datapoint."""
    chain, x = Chain(normal), torch.full((rows,), X)
    values, gradients = [], []
    for _ in range(batches):
        chain.zero_grad()
        values.append(-objective.loss_and_grads(chain.model, chain.guide, x) / rows)
        gradients.append(-torch.stack([getattr(chain, n).grad for n in NAMES]) / rows)
    draws = torch.cat([torch.tensor(values)[:, None], torch.stack(gradients)], 1)
    return draws.mean(0), draws.std(0) / math.sqrt(batches)


def mean_log(w):
    return w.logsumexp(0) - math.log(2)


CLAIMS = {
    "IWAE": (ImportanceWeightedELBO(2), mean_log, dist.Normal),
    "IWAE, one after the other": (ImportanceWeightedELBO(2, vectorize_particles=False), mean_log, dist.Normal),
    "DReG": (DReG(2), mean_log, dist.Normal),
    "DReG, one after the other": (DReG(2, vectorize_particles=False), mean_log, dist.Normal),
    "VIMCO": (VIMCO(2), mean_log, Unreparametrized),
    "CIWAE": (CIWAE(2, beta=0.3), lambda w: 0.3 * w.mean(0) + 0.7 * mean_log(w), dist.Normal),
    "MIWAE": (MIWAE(2, num_bounds=3), mean_log, dist.Normal),
    "Rényi, 0.5": (VariationalRenyiBound(0.5, 2), lambda w: 2 * mean_log(w / 2), dist.Normal),
    "Rényi, -1": (VariationalRenyiBound(-1, 2), lambda w: mean_log(2 * w) / 2, dist.Normal),
    "Rényi, 1": (VariationalRenyiBound(1, 2), lambda w: w.mean(0), dist.Normal),
}


@pytest.mark.parametrize(
    "batches", [60, pytest.param(300, marks=pytest.mark.slow)], ids=["24,000 draws", "120,000 draws"]
)
@pytest.mark.parametrize("claim", CLAIMS)
def test_estimates_have_the_mean_that_they_claim(claim, batches):
    objective, bound, normal = CLAIMS[claim]
    value, gradient = exact(bound)
    wanted = torch.cat([value[None], gradient]).float()
    means, errors = estimated(objective, normal, batches)
    assert ((means - wanted).abs() < 3.5 * errors + 1e-6).all(), (means - wanted) / errors
    assert (wanted.abs() > 10 * errors).sum() > 4  # else it would not tell


@pytest.mark.parametrize("normal", [dist.Normal, Unreparametrized])
def test_reweighted_wake_sleep_has_both_gradients(normal):
    """The model's is that of the bound; the guide's is Σ w̃_k ∇ log q at fixed draws."""
    value, of_bound = exact(mean_log)
    chain = Chain().double()
    weights, noise = nodes()
    with torch.no_grad():
        z2 = chain.to_z2 * X + chain.spread2 * noise[..., 1]
        z1 = chain.to_z1 * z2 + chain.spread1 * noise[..., 0]
        model, guide = log_densities(chain, noise)
        normalized = (model - guide).softmax(0)
    normal_of = torch.distributions.Normal
    log_q = normal_of(chain.to_z2 * X, chain.spread2).log_prob(z2)
    log_q = log_q + normal_of(chain.to_z1 * z2, chain.spread1).log_prob(z1)
    expected = (weights * (normalized * log_q).sum(0)).sum()
    of_guide = torch.autograd.grad(expected, [getattr(chain, n) for n in NAMES[3:]])
    wanted = torch.cat([value[None], of_bound[:3], torch.stack(of_guide)]).float()
    means, errors = estimated(ReweightedWakeSleep(2), normal, 60)
    assert ((means - wanted).abs() < 3.5 * errors + 1e-6).all()
    assert (wanted.abs() > 10 * errors).sum() > 4


def signal_to_noise(objective, batches=200):
    """That of a gradient of the guide, d."""
    means, errors = estimated(objective, batches=batches, rows=16)
    return float(means[4].abs() / (errors[4] * math.sqrt(batches)))


def test_the_signal_of_the_guide_drowns_without_double_reparametrization():
    few, many = ({o: signal_to_noise(o(k)) for o in (ImportanceWeightedELBO, DReG)} for k in (2, 128))
    assert many[ImportanceWeightedELBO] < 0.7 * few[ImportanceWeightedELBO]
    assert many[DReG] > 1.5 * few[DReG]


def test_a_perfect_guide_has_no_noise_left():
    """With K = 1 the gradient of the guide is that which sticks the landing: 0 for every draw at the posterior."""
    chain = Chain()
    with torch.no_grad():
        variance = chain.above**2 + chain.below**2
        spread = 1 / (1 / variance + chain.out**2)
        chain.to_z2.copy_(spread * chain.out)
        chain.spread2.copy_(spread.sqrt())
        posterior = 1 / (1 + chain.above**2 / chain.below**2)
        chain.to_z1.copy_(posterior * chain.above / chain.below**2)
        chain.spread1.copy_(posterior.sqrt())
    x = torch.randn(50)
    DReG(1).loss_and_grads(chain.model, chain.guide, x)
    assert all(getattr(chain, n).grad.abs() < 1e-3 for n in NAMES[3:])
    assert chain.out.grad.abs() > 0.1


@pytest.mark.parametrize("objective", [DReG(3), MIWAE(2, 2), VariationalRenyiBound(0.5, 3), ReweightedWakeSleep(3)])
@pytest.mark.usefixtures("interpreted")
def test_compiled_losses_are_the_eager_ones(objective):
    eager = type(objective).__new__(type(objective))
    eager.__dict__.update(objective.__dict__, max_plate_nesting=2)
    assert_equal_to_eager(Chain(), objective, torch.randn(12), eager_objective=eager)


class WithFactor(Chain):
    def guide(self, x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z_2", dist.Normal(self.to_z2 * x, self.spread2))
            pyro.sample("z_1", dist.Normal(self.to_z1 * z2, self.spread1))
            pyro.factor("pull", self.to_z2 * x, has_rsample=True)


class WithoutZ1(Chain):
    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z_2", dist.Normal(self.to_z2 * x, self.spread2))


def refused(pair, objective, match):
    with pytest.raises(pyvae.PairError, match=match):
        objective.loss_and_grads(pair.model, pair.guide, torch.randn(7))


def test_what_has_no_such_gradient_is_refused():
    refused(WithFactor(), DReG(3), r"the guide has \['pull'\].*use ImportanceWeightedELBO")
    refused(WithoutZ1(), ImportanceWeightedELBO(3), r"the model samples \['z_1'\], which the guide does not")
    for objective in (DReG(3), MIWAE(3), CIWAE(3), VariationalRenyiBound(0.5)):
        refused(Chain(Unreparametrized), objective, "not reparametrized.*use VIMCO or ReweightedWakeSleep")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: MIWAE(num_bounds=0), "num_bounds is 0"),
        (lambda: MIWAE(num_particles=0), "num_particles is 0"),
        (lambda: CIWAE(beta=1.5), "beta is 1.5; expected a number between 0 and 1"),
        (lambda: VariationalRenyiBound(math.inf), "alpha is inf"),
        (lambda: ReweightedWakeSleep(1), "num_particles is 1; expected an int of at least 2"),
    ],
)
def test_arguments(make, match):
    with pytest.raises(pyvae.ArgumentError, match=match):
        make()


def test_renyis_bound_reaches_its_limit():
    log_weights = torch.tensor([[-100.3], [-101.9], [-99.7], [-100.9], [-101.4]])
    for alpha in (1.0, 1 - 1e-12, 1 - 1e-9, 1 - 1e-7, 1 - 1e-4, 1 + 1e-7):
        found = VariationalRenyiBound(alpha, 5).bound(log_weights)
        torch.testing.assert_close(found, log_weights.mean(0), rtol=0, atol=2e-4)
