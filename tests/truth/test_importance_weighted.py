"""Importance-weighted objectives against closed forms, enumeration and losses written by hand."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI
from torch import nn

import pyvae
from pyvae import likelihoods, priors, quantizers
from pyvae.objectives import VIMCO, ImportanceWeightedELBO
from tests.compilation.comparing import assert_equal_to_eager

SIZE, DIM = 12, 3


class Linear(nn.Module):
    """z ~ N(0, 1), x ~ N(w z, 1), with a guide that is too wide; all that can go wrong is an argument."""

    def __init__(self, rows=None, outside=False, scaled=1.0, q=dist.Normal):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, -0.5, 2.0]))
        self.encoder = nn.Linear(DIM, 1)
        self.rows, self.outside, self.scaled, self.q = rows, outside, scaled, q

    def plate(self, x):
        return pyro.plate("data", self.rows or len(x), subsample=torch.arange(len(x)) if self.rows else None)

    def model(self, x):
        pyro.module("pair", self)
        if self.outside:
            pyro.factor("outside", -self.w.sum())
        with self.plate(x), poutine.scale(scale=self.scaled):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z[..., None] * self.w, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with self.plate(x), poutine.scale(scale=self.scaled):
            loc = self.encoder(x)[..., 0]
            q = dist.Delta(loc) if self.q is dist.Delta else self.q(loc, 1.5)
            pyro.sample("z", q)


@pytest.fixture
def x():
    return torch.randn(SIZE, DIM)


def by_hand(pair, x, noise):
    """−Σ_n L̂_K(x_n), from noise (K, N)."""
    z = pair.encoder(x)[..., 0] + 1.5 * noise
    normal = torch.distributions.Normal
    log_joint = normal(0.0, 1.0).log_prob(z) + normal(z[..., None] * pair.w, 1.0).log_prob(x).sum(-1)
    log_weights = log_joint - normal(pair.encoder(x)[..., 0], 1.5).log_prob(z)
    return -(log_weights.logsumexp(0) - math.log(len(noise))).sum()


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("particles", [1, 4])
def test_value_and_gradient_are_those_by_hand(x, vectorized, particles):
    pair = Linear()
    parameters = list(pair.parameters())
    torch.manual_seed(1)
    noise = torch.randn(particles, SIZE) if vectorized else torch.stack([torch.randn(SIZE) for _ in range(particles)])
    expected = by_hand(pair, x, noise)
    wanted = torch.autograd.grad(expected, parameters)
    objective = ImportanceWeightedELBO(particles, vectorize_particles=vectorized)
    objective.max_plate_nesting = 1 + (vectorized and particles > 1)
    torch.manual_seed(1)
    loss = objective.loss_and_grads(pair.model, pair.guide, x)
    assert loss == pytest.approx(float(expected), rel=1e-5)
    for parameter, gradient in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-4)
    torch.manual_seed(1)
    assert objective.loss(pair.model, pair.guide, x) == pytest.approx(loss)
    torch.manual_seed(1)
    assert float(objective.differentiable_loss(pair.model, pair.guide, x)) == pytest.approx(loss)


def test_bounds_rise_with_the_particles_to_the_evidence(x):
    pair = Linear()
    covariance = torch.outer(pair.w, pair.w) + torch.eye(DIM)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(DIM), covariance).log_prob(x).sum().item()
    bounds = []
    for particles in (1, 5, 50, 2000):
        objective = ImportanceWeightedELBO(particles)
        with torch.no_grad():
            draws = torch.tensor([-objective.loss(pair.model, pair.guide, x) for _ in range(100)])
        bounds.append(float(draws.mean()))
    assert sorted(bounds) == bounds
    assert bounds[-1] <= evidence + 0.05
    assert evidence - bounds[-1] < 0.5 < evidence - bounds[0]


def test_the_factor_of_mini_batches_stays_outside_of_the_logarithm(x):
    """Where it goes inside, the loss is no bound, as Pyro's RenyiELBO shows."""
    losses = []
    for rows in (None, 5 * SIZE):
        torch.manual_seed(1)
        pair = Linear(rows)
        pyro.clear_param_store()
        torch.manual_seed(2)
        losses.append(ImportanceWeightedELBO(4).loss(pair.model, pair.guide, x))
    assert losses[1] == pytest.approx(5 * losses[0], rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"outside": True}, "site 'outside' of the model lies outside of the plate over the data"),
        ({"scaled": 0.5}, "scaled by hand"),
        ({"q": dist.Delta}, "site 'z' of the guide is a Delta"),
    ],
)
@pytest.mark.parametrize("objective", [ImportanceWeightedELBO, VIMCO])
def test_pairs_without_weights_are_refused(x, objective, arguments, match):
    pair = Linear(**arguments)
    with pytest.raises(pyvae.PairError, match=match):
        pyvae.fit(pair, x, objective=objective(3), epochs=1, seed=0, progress=False)


def test_particles():
    for objective, least in ((ImportanceWeightedELBO, 1), (VIMCO, 2)):
        with pytest.raises(pyvae.ArgumentError, match="num_particles is"):
            objective(least - 1)


def test_plain_pyro_trains_with_it(x):
    pair = Linear()
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 0.02}), ImportanceWeightedELBO(5))
    losses = [svi.step(x) for _ in range(150)]
    assert sum(losses[-20:]) < sum(losses[:20])


@pytest.mark.usefixtures("interpreted")
def test_compiled_losses_are_the_eager_ones(x):
    eager = ImportanceWeightedELBO(4)
    eager.max_plate_nesting = 2  # else the first call would draw to find it out
    assert_equal_to_eager(Linear(), ImportanceWeightedELBO(4), x, eager_objective=eager)


class Rows(nn.Module):
    """z ~ N(0, 1), x ~ N(z, 1) and its posterior; a plate draws the rows, or only the columns, of a batch."""

    def __init__(self, rows=None, columns=None):
        super().__init__()
        self.rows, self.columns = rows, columns
        self.shift = nn.Parameter(torch.zeros(()))

    def model(self, x):
        pyro.module("rows", self)
        with pyro.plate("data", len(x), subsample_size=self.rows, dim=-2) as i:
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            with pyro.plate("columns", x.shape[1], subsample_size=self.columns, dim=-1) as j:
                pyro.sample("x", dist.Normal(z + self.shift, 1.0), obs=x[i][:, j])

    def guide(self, x):
        with pyro.plate("data", len(x), subsample_size=self.rows, dim=-2) as i:
            pyro.sample("z", dist.Normal(x[i].mean(1, keepdim=True) / 2, 0.5**0.5))


def test_particles_of_other_data_are_refused_one_after_the_other():
    x, pair = torch.randn(6, 1), Rows(rows=2)
    side_by_side = ImportanceWeightedELBO(3)
    exact = -torch.distributions.Normal(0.0, 2**0.5).log_prob(x).sum()
    losses = torch.tensor([side_by_side.loss(pair.model, pair.guide, x) for _ in range(500)])
    assert losses.mean() == pytest.approx(float(exact), abs=4 * float(losses.std()) / 500**0.5)
    with pytest.raises(pyvae.PairError, match="plate 'data' draws other data for each particle"):
        ImportanceWeightedELBO(3, vectorize_particles=False).loss(pair.model, pair.guide, x)


def test_a_plate_that_is_seen_in_part_is_refused():
    x, pair = torch.randn(6, 4), Rows(columns=2)
    with pytest.raises(pyvae.PairError, match=r"site 'x' of the model is scaled by hand, or by a plate"):
        ImportanceWeightedELBO(3).loss(pair.model, pair.guide, x)
    assert ImportanceWeightedELBO(3).loss(Rows().model, Rows().guide, x) > 0


CODES, GRID = 3, 2


@pytest.fixture
def codes():
    torch.manual_seed(0)
    return pyvae.VQVAE(
        prior=priors.FactorizedCodes((GRID,), num_codes=CODES),
        likelihood=likelihoods.Normal(
            nn.Sequential(nn.Flatten(-2), nn.Linear(GRID * 2, 4)), event_shape=4, learn_scale=False
        ),
        encoder=nn.Sequential(nn.Linear(4, GRID * 2), nn.Unflatten(-1, (2, GRID))),
        quantizer=quantizers.SoftmaxQuantizer(CODES, 2),
    )


def exact_bound(pair, x, particles):
    """−Σ_n L_K(x_n), by enumeration of all draws of K grids."""
    every = torch.cartesian_prod(*[torch.arange(CODES)] * GRID)
    z_e, codebook = pair.encoder(x).movedim(1, -1), pair.quantizer.embedding.weight
    log_q = (-(z_e[:, :, None] - codebook).square().sum(-1)).log_softmax(-1)
    log_q = torch.stack([log_q[:, torch.arange(GRID), k].sum(-1) for k in every])
    log_prior = pair.prior().log_prob(every)
    loc = pair.likelihood.network(codebook[every].movedim(-1, 1))
    log_weight = torch.distributions.Normal(loc[:, None], 1.0).log_prob(x).sum(-1) + log_prior[:, None] - log_q
    draws = torch.cartesian_prod(*[torch.arange(len(every))] * particles)
    bound = log_weight[draws].logsumexp(1) - math.log(particles)
    return -(log_q[draws].sum(1).exp() * bound).sum()


def test_vimco_has_the_gradient_of_the_bound(codes):
    x = torch.randn(5, 4)
    parameters = list(codes.parameters())
    loss = exact_bound(codes, x, 2)
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
    objective, draws, values, copies = VIMCO(2), [], [], 100
    for _ in range(60):
        codes.zero_grad()
        values.append(objective.loss_and_grads(codes.model, codes.guide, x.repeat(copies, 1)) / copies)
        draws.append(torch.cat([p.grad.flatten() for p in parameters]) / copies)
    draws, values = torch.stack(draws), torch.tensor(values)
    errors = draws.std(0) / math.sqrt(len(draws))
    assert abs(values.mean() - loss.detach()) < 4 * values.std() / math.sqrt(len(values))
    assert ((draws.mean(0) - exact).abs() < 4.5 * errors + 1e-5).all()
    assert (exact.abs() > 5 * errors).float().mean() > 0.3


def test_the_pathwise_bound_refuses_codes_that_are_drawn(codes):
    with pytest.raises(pyvae.PairError, match=r"site 'k' of the guide is not reparametrized.*VIMCO"):
        pyvae.fit(codes, torch.randn(5, 4), objective=ImportanceWeightedELBO(3), epochs=1, seed=0, progress=False)
