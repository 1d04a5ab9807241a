"""Guides that observe, and guides with auxiliary latents: what of them is part of log q, and what is not."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.contrib import cevae
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn

import pyvae
from pyvae.objectives import ImportanceWeightedELBO, WeightedELBO

GRID = torch.linspace(-9, 9, 4001).double()


class Labelled(nn.Module):
    """z ~ N(0, 1), x ~ N(z, 1), y ~ Bernoulli(σ(2 z)); the guide may score the label, under any name."""

    def __init__(self, scored=None, infer=None):
        super().__init__()
        self.scored, self.infer = scored, infer or {}
        self.w, self.c = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.3))

    def model(self, x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.sample("y", dist.Bernoulli(logits=2 * z), obs=y)

    def guide(self, x, y):
        with pyro.plate("data", len(x)):
            self.score(x, y)
            pyro.sample("z", dist.Normal(self.w * x, 0.8))

    def score(self, x, y):
        if self.scored:
            pyro.sample(self.scored, dist.Bernoulli(logits=self.c * x), obs=y, infer=self.infer)

    @staticmethod
    def exact(x, y):
        joint = dist.Normal(0.0, 1.0).log_prob(GRID) + dist.Normal(GRID, 1.0).log_prob(x[:, None].double())
        joint = joint + dist.Bernoulli(logits=2 * GRID).log_prob(y[:, None].double())
        return joint.logsumexp(1) + math.log(GRID[1] - GRID[0])


class ScoredTwice(Labelled):
    """Two observations beside z, one of them of five parts in a plate of their own."""

    def score(self, x, y):
        if self.scored:
            pyro.sample("first", dist.Normal(self.c * x, 1.0), obs=x)
            with pyro.plate("parts", 5, dim=-2):
                pyro.sample("second", dist.Bernoulli(logits=self.c * x), obs=y.expand(5, -1))


class ScoredAfter(Labelled):
    """The label is scored given z."""

    def guide(self, x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(self.w * x, 0.8))
            if self.scored:
                pyro.sample(self.scored, dist.Bernoulli(logits=self.c * z), obs=y)


SCORED = [
    lambda scored: Labelled("y" if scored else None),
    lambda scored: Labelled("label" if scored else None, {"is_auxiliary": True}),
    lambda scored: ScoredTwice("label" if scored else None),
    lambda scored: ScoredAfter("y" if scored else None),
]


@pytest.fixture
def labelled():
    z = torch.randn(40)
    return z + torch.randn(40), torch.bernoulli(torch.sigmoid(2 * z))


@pytest.mark.parametrize("make", SCORED)
def test_what_a_guide_observes_is_in_no_bound(make, labelled):
    pair = make(True)
    bound = pyvae.log_likelihood(pair, labelled, num_particles=3000, seed=0)
    gap = bound.per_datapoint - Labelled.exact(*labelled)
    assert abs(float(gap.mean())) < 0.01
    plain, elbo = (pyvae.elbo(p, labelled, num_particles=50, seed=0) for p in (make(False), pair))
    assert torch.allclose(elbo.per_datapoint, plain.per_datapoint, atol=1e-5)
    assert list(elbo.kl_terms) == ["z"]
    weights = [pyvae.log_weights(p, *labelled) for p in (pair, make(False)) if not pyro.set_rng_seed(0)]
    assert torch.allclose(*weights, atol=1e-5)


def rows(pair, data, objective, **arguments):
    settings = {"epochs": 1, "seed": 0, "progress": False, "optimizer": lambda p: torch.optim.SGD(p, lr=1e-9)}
    return pyvae.fit(pair, data, objective=objective, **settings, **arguments).history[0]


@pytest.mark.filterwarnings("ignore:Failed to verify mean field")
@pytest.mark.parametrize("make", SCORED)
@pytest.mark.parametrize("objective", [Trace_ELBO(), TraceGraph_ELBO(), WeightedELBO(0.5), ImportanceWeightedELBO(3)])
def test_nor_in_the_figures_of_training(make, objective, labelled):
    """On the same draws; the loss stays the objective's own."""
    plain = rows(make(False), labelled, objective)
    with pytest.warns(UserWarning, match="that the guide observes.*TraceCausalEffect_ELBO"):
        scored = rows(make(True), labelled, objective)
    names = {"train_elbo", "train_reconstruction", "train_kl"}
    assert {n: scored[n] for n in names} == pytest.approx({n: plain[n] for n in names}, rel=1e-5)
    assert names == {n for n in scored if n.startswith("train_")} - {"train_loss"}
    if isinstance(objective, Trace_ELBO | TraceGraph_ELBO) and not isinstance(objective, WeightedELBO):
        assert plain["train_loss"] == pytest.approx(-plain["train_elbo"], rel=1e-5)
        assert abs(scored["train_loss"] - plain["train_loss"]) > 0.1  # Pyro counts the observation as part of log q
    else:
        assert scored["train_loss"] == pytest.approx(plain["train_loss"], rel=1e-5)


def test_by_default_the_guide_learns_to_make_what_it_observes_probable(labelled):
    x, y = labelled
    for name in ("y", "label"):
        pair = Labelled(name)
        pair.c.data.fill_(-1.0)
        pyvae.fit(pair, labelled, epochs=100, seed=0, progress=False, optimizer=lambda p: torch.optim.Adam(p, lr=0.05))
        c = torch.linspace(-3, 3, 601)
        best = c[dist.Bernoulli(logits=c[:, None] * x).log_prob(y).sum(1).argmax()]
        assert float(pair.c) == pytest.approx(float(best), abs=0.1)


class CausalEffect(nn.Module):
    def __init__(self):
        super().__init__()
        names = {"feature_dim": 3, "latent_dim": 2, "hidden_dim": 4, "num_layers": 2, "outcome_dist": "normal"}
        config = names | {"num_samples": 10}
        self.p, self.q = cevae.Model(config), cevae.Guide(config)

    def model(self, x, t, y):
        return self.p(x, t, y, size=len(x))

    def guide(self, x, t, y):
        return self.q(x, t, y, size=len(x))


def test_pyros_causal_effect_vae():
    """Against Pyro's traces, of which the sites that count are added up by hand."""
    x, t, y = torch.randn(30, 3), torch.bernoulli(torch.full((30,), 0.5)), torch.randn(30)
    pair, weights = CausalEffect(), []
    for _ in range(2000):
        q = poutine.trace(pair.guide).get_trace(x, t, y)
        p = poutine.trace(poutine.replay(pair.model, trace=q)).get_trace(x, t, y)
        p.compute_log_prob()
        q.compute_log_prob()
        densities = [s["log_prob"].detach() for s in p.nodes.values() if s["type"] == "sample" and s["name"] != "data"]
        weights.append(sum(densities) - q.nodes["z"]["log_prob"].detach())
    weights = torch.stack(weights)
    estimate = pyvae.elbo(pair, (x, t, y), num_particles=500, seed=0)
    error = math.hypot(estimate.standard_error, float(weights.std(0).square().sum().sqrt()) / 30 / math.sqrt(2000))
    assert abs(estimate.value - float(weights.mean())) < 4 * error
    row = pyvae.fit(pair, (x, t, y), epochs=1, seed=0, progress=False).history[0]
    assert abs(row["train_elbo"] - estimate.value) < 1


class Transformed(nn.Module):
    """log z ~ N(0, 1), x ~ N(z, 1); q is log-normal, or an auxiliary normal of which z is a function."""

    def __init__(self, auxiliary):
        super().__init__()
        self.auxiliary, self.w = auxiliary, nn.Parameter(torch.tensor(0.3))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(x.new_zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            self.latents(x)

    def latents(self, x):
        if not self.auxiliary:
            return pyro.sample("z", dist.LogNormal(self.w * x, 0.6))
        u = pyro.sample("u", dist.Normal(self.w * x, 0.6), infer={"is_auxiliary": True})
        return pyro.sample("z", dist.Delta(u.exp(), log_density=-u))

    @staticmethod
    def exact(x):
        joint = dist.Normal(0.0, 1.0).log_prob(GRID) + dist.Normal(GRID.exp(), 1.0).log_prob(x[:, None].double())
        return joint.logsumexp(1) + math.log(GRID[1] - GRID[0])


class Rotated(nn.Module):
    """z ~ N(0, I) in the plane; q is a normal that an affine map of an auxiliary one gives."""

    def __init__(self, auxiliary):
        super().__init__()
        self.auxiliary = auxiliary
        self.L = nn.Parameter(torch.tensor([[0.7, 0.0], [-0.3, 0.6]]))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(self, x):
        loc = x[:, None].expand(-1, 2) / 3
        with pyro.plate("data", len(x)):
            if not self.auxiliary:
                return pyro.sample("z", dist.MultivariateNormal(loc, scale_tril=self.L))
            e = pyro.sample("e", dist.Normal(torch.zeros_like(loc), 1.0).to_event(1), infer={"is_auxiliary": True})
            volume = self.L.diagonal().log().sum().expand(e.shape[:-1])
            return pyro.sample("z", dist.Delta(loc + e @ self.L.T, log_density=-volume, event_dim=1))

    @staticmethod
    def exact(x):
        return dist.Normal(0.0, math.sqrt(3.0)).log_prob(x.double())


class TwoScales(Transformed):
    """As above, with a second latent whose auxiliary is a real number mapped to the unit interval."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            v = pyro.sample("v", dist.Uniform(x.new_zeros(len(x)), 1.0))
            z = pyro.sample("z", dist.LogNormal(x.new_zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z + 0 * v, 1.0), obs=x)

    def latents(self, x):
        base = dist.Normal(0.2 * x, 1.0)
        if self.auxiliary:
            u = pyro.sample("unit", base, infer={"is_auxiliary": True})
            slope = torch.nn.functional.logsigmoid(u) + torch.nn.functional.logsigmoid(-u)
            pyro.sample("v", dist.Delta(u.sigmoid(), log_density=-slope))
        else:
            pyro.sample("v", dist.TransformedDistribution(base, dist.transforms.SigmoidTransform()))
        super().latents(x)


@pytest.mark.parametrize("make", [Transformed, Rotated, TwoScales])
def test_auxiliary_latents_are_part_of_log_q(make):
    x = torch.randn(40) + 1
    plain, auxiliary = make(False), make(True)
    bound = pyvae.log_likelihood(auxiliary, x, num_particles=4000, seed=0)
    assert abs(float((bound.per_datapoint - make.exact(x)).mean())) < 0.02
    first, second = (pyvae.elbo(p, x, num_particles=4000, seed=s) for s, p in enumerate((plain, auxiliary)))
    assert abs(first.value - second.value) < 4 * math.hypot(first.standard_error, second.standard_error)
    assert abs(float(first.kl.mean() - second.kl.mean())) < 0.02
    evaluation = pyvae.evaluate(auxiliary, x, num_particles=10)
    assert evaluation.log_likelihood.value > evaluation.elbo.value
    for objective in (None, Trace_ELBO(), WeightedELBO(0.3)):
        row = rows(auxiliary, x.repeat(50), objective, batch_size=2000)
        assert row["train_elbo"] == pytest.approx(first.value, abs=0.1)
        if not isinstance(objective, WeightedELBO):
            assert row["train_loss"] == pytest.approx(-row["train_elbo"], rel=1e-5)


def test_a_point_beside_auxiliary_latents_stays_a_point():
    class Half(TwoScales):
        def latents(self, x):
            pyro.sample("v", dist.Delta(0.2 + 0 * x))
            Transformed.latents(self, x)

    with pytest.raises(pyvae.PairError, match="'v' of the guide is a Delta"):
        pyvae.log_likelihood(Half(True), torch.randn(20))


def test_figures_that_are_no_bound_say_so():
    """A guide with a mixture's component that the model does not know: log q of both is less than that of one."""

    class Mixture(Labelled):
        def guide(self, x, y):
            with pyro.plate("data", len(x)):
                a = pyro.sample("a", dist.Normal(0.0 * x, 1.0), infer={"is_auxiliary": True})
                pyro.sample("z", dist.Normal(self.w * x + a, 0.8))

    data = torch.randn(20), torch.ones(20)
    with pytest.warns(UserWarning, match=r"auxiliary \['a'\].*no bound on log p"):
        pyvae.elbo(Mixture(), data)


class TwoLatents(nn.Module):
    """A conjugate chain of two latents, under Pyro's own mean-field guide."""

    def __init__(self, rows):
        super().__init__()
        self.auto = AutoNormal(self.model, init_scale=0.4)
        self.auto(torch.zeros(rows))

    def model(self, x):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.LogNormal(x.new_zeros(len(x)), 1.0))
            b = pyro.sample("b", dist.Normal(a, 1.0))
            pyro.sample("x", dist.Normal(b, 1.0), obs=x)

    def guide(self, x):
        return self.auto(x)


def test_an_automatic_guides_elbo_is_that_of_pyro():
    x = torch.randn(32)
    pair = TwoLatents(32)
    row = rows(pair, x, Trace_ELBO(num_particles=200), batch_size=32)
    assert row["train_elbo"] == pytest.approx(-row["train_loss"], rel=1e-5)
    expected = -Trace_ELBO(num_particles=2000).loss(pair.model, pair.guide, x) / 32
    assert row["train_elbo"] == pytest.approx(expected, abs=0.1)
    assert row["train_kl"] == pytest.approx(sum(v for n, v in row.items() if n.startswith("train_kl_")), rel=1e-5)
