"""ELBOs with capacities, total correlations and discrepancies, against values known otherwise."""

import math
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import pyvae
from pyvae.objectives import (
    CapacityELBO,
    Cyclical,
    InfoVAE,
    Ramp,
    TotalCorrelationELBO,
    WarmUp,
    WeightedELBO,
)
from tests.clients.hierarchies import DIM, markov
from tests.compilation.comparing import assert_equal_to_eager, assert_same, eager_results
from tests.truth.losses import Bits, Plain, by_hand


@pytest.fixture
def x():
    return torch.randn(12, DIM)


@pytest.mark.parametrize("capacity", [0.0, 1.0, 50.0])
@pytest.mark.parametrize("size", [None, 120])
def test_capacity_pulls_the_mean_of_the_kl(capacity, size, x):
    pair = Plain(size)
    scale = (size or len(x)) / len(x)

    def loss(reconstruction, terms):
        return scale * (3 * (terms["z"] / len(x) - capacity).abs() * len(x) - reconstruction)

    assert_same(eager_results(pair, CapacityELBO(capacity, gamma=3), x), by_hand(pair, x, loss, closed=True), 1e-5)


def test_the_capacity_of_a_chain_is_that_of_all_latents_together(x):
    pair = markov()

    def loss(reconstruction, terms):
        return 2 * (sum(terms.values()) - 1.5 * len(x)).abs() - reconstruction

    assert_same(eager_results(pair, CapacityELBO(1.5, gamma=2), x), by_hand(pair, x, loss, closed=False), 1e-5)


def test_a_capacity_follows_its_schedule(x):
    objective = CapacityELBO(Ramp(stop=8.0, epochs=4))
    later = CapacityELBO(4.0)
    pair = Plain()
    first = eager_results(pair, objective, x)
    objective.at_epoch(2)
    assert_same(eager_results(pair, objective, x), eager_results(pair, later, x))
    assert first[0] != eager_results(pair, later, x)[0]
    pyvae.fit(pair, x, objective=objective, epochs=3, seed=0, progress=False)
    assert_same(eager_results(pair, objective, x), eager_results(pair, CapacityELBO(6.0), x))


def test_training_reaches_the_capacity():
    data = torch.randn(400, 2) @ torch.randn(2, DIM) * 3
    pair = pyvae.recipes.gaussian((DIM,), latent_dim=3, hidden=[16], likelihood=pyvae.likelihoods.Normal)
    fast = lambda p: torch.optim.Adam(p, lr=1e-2)
    pyvae.fit(pair, data, objective=CapacityELBO(1.0, gamma=100), optimizer=fast, epochs=60, seed=0, progress=False)
    assert pyvae.elbo(pair, data, seed=0).kl.mean() == pytest.approx(1.0, abs=0.3)


def test_schedules():
    assert [Cyclical(4, rise=0.5)(e) for e in range(1, 10)] == [0.5, 1, 1, 1, 0.5, 1, 1, 1, 0.5]
    assert [Cyclical(4, rise=1.0)(e) for e in range(1, 6)] == [0.25, 0.5, 0.75, 1, 0.25]
    assert Cyclical(100, rise=1.0, floor=0.2)(1) == 0.2
    assert [Ramp(10, 5)(e) for e in (1, 5, 6)] == [2, 10, 10]
    for make in (
        lambda: Cyclical(0),
        lambda: Cyclical(3, rise=0),
        lambda: Cyclical(3, floor=2),
        lambda: Ramp(0, 3),
        lambda: Ramp(1, 0),
    ):
        with pytest.raises(pyvae.ArgumentError, match="expected"):
            make()


def test_a_warm_up_may_be_a_part_of_the_run(x):
    pair, objective = Plain(), WeightedELBO(WarmUp(0.5))
    assert_same(eager_results(pair, objective, x), eager_results(pair, WeightedELBO(), x))  # of one epoch, at its end
    pyvae.fit(pair, x, objective=objective, epochs=8, seed=0, progress=False)
    assert_same(eager_results(pair, objective, x), eager_results(pair, WeightedELBO(), x))
    for epoch, beta in ((1, 0.25), (2, 0.5), (4, 1.0), (7, 1.0)):
        objective.at_epoch(epoch, total=8)
        assert_same(eager_results(pair, objective, x), eager_results(pair, WeightedELBO(beta), x))
    with pytest.raises(pyvae.ArgumentError, match=r"epochs=0.5 is a part of a run of unknown length.*at_epoch"):
        objective.at_epoch(2)


@pytest.mark.parametrize("schedule", [WarmUp(10), Cyclical(4), Ramp(0.5, 10)], ids=lambda s: type(s).__name__)
def test_every_schedule_may_be_a_beta_and_leaves_evaluations_alone(schedule, x):
    pair, objective = Plain(), WeightedELBO(schedule)
    pyvae.fit(pair, x, objective=objective, epochs=2, seed=0, progress=False)
    assert_same(eager_results(pair, objective, x), eager_results(pair, WeightedELBO(schedule(2)), x))
    exact = by_hand(pair, x, lambda r, t: t["z"], closed=True)[0]
    assert float(pyvae.elbo(pair, x, num_particles=2000, seed=0).kl.sum()) == pytest.approx(float(exact), rel=0.05)


class Correlated(nn.Module):
    """q(z | x) = N(x, s²) of data x from a normal: q(z) over all data is nearly N(0, Σ + s²)."""

    def __init__(self, spread=0.7):
        super().__init__()
        self.spread = nn.Parameter(torch.tensor(spread))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("correlated", self)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, self.spread).to_event(1))


def penalty(objective, pair, x, plain):
    """What the objective adds per datapoint, with the same draws."""
    losses = []
    for o in (objective, plain):
        pyro.set_rng_seed(3)
        losses.append(o.loss(pair.model, pair.guide, x))
    return (losses[0] - losses[1]) / len(x)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_the_total_correlation_is_that_of_the_closed_form(correlation):
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]])
    x = torch.randn(2000, 2) @ torch.linalg.cholesky(covariance).T
    pair = Correlated()
    spread = covariance + 0.7**2 * torch.eye(2)
    exact = float(spread.diagonal().log().sum() - spread.logdet()) / 2
    found = penalty(TotalCorrelationELBO(3.0, data_size=2000), pair, x, WeightedELBO()) / 3
    assert found == pytest.approx(exact, abs=0.03)


def test_the_density_of_all_data_is_estimated_from_batches_without_bias():
    """The mean over all batches of three of five data is the mixture of the five."""
    torch.manual_seed(0)
    x, draw = torch.randn(5, 2).double(), torch.randn(2).double()
    normal = torch.distributions.Normal(x, 0.7)
    everything = normal.log_prob(draw).sum(-1).exp().mean()
    objective = TotalCorrelationELBO(1.0, data_size=5)
    found = []
    for others in ((1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)):
        rows = [0, *others]
        log_q = torch.distributions.Normal(x[rows], 0.7).log_prob(draw).expand(3, 3, 2)
        weights = torch.tensor([1 / 5, 2 / 5, 2 / 5], dtype=torch.float64)
        joint = (log_q.sum(-1)[0] + weights.log()).logsumexp(0)
        apart = (log_q[0] + weights.log()[:, None]).logsumexp(0).sum()
        assert objective._total_correlation(log_q)[0] == pytest.approx(float(joint - apart))
        found.append(joint.exp())
    assert torch.stack(found).mean() == pytest.approx(float(everything))


def test_the_penalty_takes_the_correlation_away():
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    data = torch.randn(500, 2) @ torch.linalg.cholesky(covariance).T

    def correlation(gamma):
        torch.manual_seed(0)
        pair = pyvae.recipes.gaussian(
            (2,), latent_dim=2, hidden=[], likelihood=partial(pyvae.likelihoods.Normal, learn_scale=False)
        )
        nn.init.eye_(pair.posterior.network.layers[-1].weight)
        fast = lambda p: torch.optim.Adam(p, lr=1e-2)
        objective = TotalCorrelationELBO(gamma, data_size=500)
        pyvae.fit(pair, data, objective=objective, optimizer=fast, epochs=30, seed=0, progress=False)
        return abs(float(torch.corrcoef(pair.posterior(data).mean.detach().T)[0, 1]))

    assert correlation(20.0) < 0.1 < 0.5 < correlation(0.0)


def test_the_discrepancy_of_equal_distributions_is_zero_on_average_and_positive_else():
    class Prior(Correlated):
        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), math.sqrt(1 + 0.7**2)).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    x = torch.randn(3000, 2)

    def discrepancy(pair, data):
        return penalty(InfoVAE(alpha=0.0, weight=1.0), pair, data, WeightedELBO())

    assert abs(discrepancy(Prior(), x)) < 2e-3
    assert discrepancy(Prior(), x + 1.0) > 0.02


def test_the_discrepancy_by_hand(x):
    pair = Correlated()
    x = x[:4, :2]
    pyro.set_rng_seed(3)
    u = x + 0.7 * torch.randn(4, 2)
    torch.randn(4, 2)  # the model's draw of z is replayed; the prior's come last
    kernel = lambda a, b: 4 / (4 + float((a - b).square().sum()))
    pyro.set_rng_seed(3)
    torch.randn(4, 2)
    v = torch.randn(4, 2)
    expected = sum(
        kernel(u[i], u[j]) + kernel(v[i], v[j]) - kernel(u[i], v[j]) - kernel(v[i], u[j])
        for i in range(4)
        for j in range(4)
        if i != j
    )
    found = penalty(InfoVAE(alpha=0.0, weight=6.0), pair, x, WeightedELBO())
    assert found == pytest.approx(6 * expected / 12, rel=1e-3)


def test_alpha_takes_the_kl_away(x):
    pair = Plain()
    for alpha in (0.0, 0.5, 1.0, -1.0):
        wanted = by_hand(pair, x, lambda r, t, a=alpha: (1 - a) * t["z"] - r, closed=True)
        assert_same(eager_results(pair, InfoVAE(alpha, weight=0.0), x), wanted, 1e-5)


class Steps(nn.Module):
    """Each datapoint has a latent at each of four steps, N(1, 1) under the guide: 2 nats per datapoint."""

    def __init__(self, masked=True):
        super().__init__()
        self.masked, self.m = masked, nn.Parameter(torch.ones(()))

    def model(self, x):
        pyro.module("steps", self)
        with pyro.plate("data", len(x), dim=-1), poutine.mask(mask=self.masked):
            with pyro.plate("steps", 4, dim=-2):
                pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            pyro.sample("x", dist.Normal(torch.zeros(()), 1.0), obs=x)

    def guide(self, x):
        with (
            pyro.plate("data", len(x), dim=-1),
            poutine.mask(mask=self.masked),
            pyro.plate("steps", 4, dim=-2),
        ):
            pyro.sample("z", dist.Normal(self.m, 1.0))


@pytest.mark.parametrize("masked", [True, torch.tensor([True, True, False])])
def test_elements_of_further_plates_are_parts_of_one_datum(masked):
    x, pair = torch.zeros(3), Steps(masked)
    rows = 3 if masked is True else 2
    plain = WeightedELBO(0.0).loss(pair.model, pair.guide, x)
    for objective, wanted in (
        (WeightedELBO(free_bits=1.0), 2.0),
        (WeightedELBO(free_bits=3.0), 3.0),
        (CapacityELBO(2.0, gamma=1.0), 0.0),
        (CapacityELBO(0.5, gamma=1.0), 1.5),
    ):
        assert (objective.loss(pair.model, pair.guide, x) - plain) / rows == pytest.approx(wanted, abs=1e-5)


def test_a_learned_prior_gets_the_gradient_of_the_discrepancy():
    class Learned(Correlated):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.full((2,), 3.0))

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    pair = Learned()
    InfoVAE(alpha=1.0, weight=100.0).loss_and_grads(pair.model, pair.guide, torch.randn(50, 2))
    assert (pair.loc.grad > 1).all()


def test_masked_data_cannot_be_compared(x):
    class Masked(Plain):
        def plate(self, x):
            return poutine.mask(mask=torch.arange(len(x)) > 2)

        def model(self, x):
            with pyro.plate("data", len(x)), self.plate(x):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z @ self.A, 1.0).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)), self.plate(x):
                pyro.sample("z", dist.Normal(x @ self.B, 0.5).to_event(1))

    for objective in (TotalCorrelationELBO(1.0, 12), InfoVAE()):
        with pytest.raises(pyvae.PairError, match="site 'z' is masked"):
            objective.loss(Masked().model, Masked().guide, x)


def test_a_last_batch_of_one_has_no_penalty(x):
    for objective in (TotalCorrelationELBO(1.0, 12), InfoVAE(alpha=0.0)):
        pyvae.fit(Plain(), x[:9], objective=objective, batch_size=4, epochs=1, seed=0, progress=False)


@pytest.mark.parametrize(
    "objective", [CapacityELBO(1.0), TotalCorrelationELBO(2.0, 12), InfoVAE(0.5, 3.0)], ids=lambda o: type(o).__name__
)
@pytest.mark.usefixtures("interpreted")
def test_compiled_losses_are_the_eager_ones(objective, x):
    assert_equal_to_eager(Plain(), objective, x)


@pytest.mark.parametrize(
    ("objective", "pair", "match"),
    [
        (TotalCorrelationELBO(1.0, 12, site="w"), Plain(), "no site 'w'"),
        (TotalCorrelationELBO(1.0, 5), Plain(), "got a batch of 12; expected at most data_size=5"),
        (TotalCorrelationELBO(1.0, 12, site="bits"), Bits(), "not reparametrized"),
        (InfoVAE(site="w"), Plain(), "no site 'w'"),
        (CapacityELBO(1.0), Bits(), "not reparametrized .Bernoulli., which CapacityELBO does not support"),
    ],
)
def test_pairs_that_do_not_fit(objective, pair, match, x):
    with pytest.raises(pyvae.PairError, match=match):
        objective.loss(pair.model, pair.guide, x)


@pytest.mark.parametrize(
    "objective", [TotalCorrelationELBO(2.0, 12), InfoVAE(0.5, 3.0)], ids=lambda o: type(o).__name__
)
def test_the_only_latent_needs_no_name(objective, x):
    class Renamed(Plain):
        latent = "u"

    pair, renamed = Plain(), Renamed()
    renamed.load_state_dict(pair.state_dict())
    assert_same(eager_results(renamed, objective, x), eager_results(pair, objective, x))


@pytest.mark.parametrize(
    "objective", [TotalCorrelationELBO(2.0, 12), InfoVAE(0.5, 3.0)], ids=lambda o: type(o).__name__
)
def test_one_of_several_latents_must_be_named(objective, x):
    with pytest.raises(pyvae.PairError, match="no site was named; pass as site= one of the latents"):
        objective.loss(markov().model, markov().guide, x)


def test_guides_whose_entries_depend_on_each_other_have_no_such_penalty(x):
    class Full(Plain):
        def guide(self, x):
            with self.plate(x):
                pyro.sample("z", dist.MultivariateNormal(x @ self.B, torch.eye(2)))

    with pytest.raises(pyvae.PairError, match="MultivariateNormal; TotalCorrelationELBO expects vectors"):
        TotalCorrelationELBO(1.0, 12).loss(Full().model, Full().guide, x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CapacityELBO(-1.0),
        lambda: CapacityELBO(1.0, gamma=-1),
        lambda: TotalCorrelationELBO(-1.0, 5),
        lambda: TotalCorrelationELBO(1.0, 1),
        lambda: InfoVAE(alpha=2.0),
        lambda: InfoVAE(weight=math.nan),
    ],
)
def test_arguments(make):
    with pytest.raises(pyvae.ArgumentError, match="expected"):
        make()
