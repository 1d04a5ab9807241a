"""The terms that a training run logs are the plain ELBO's, whatever the loss is."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import nn

import pyvae
from pyvae import recipes
from pyvae.objectives import DReG, ImportanceWeightedELBO, WeightedELBO

TERMS = ("train_elbo", "train_reconstruction", "train_kl")


@pytest.mark.parametrize("objective", [WeightedELBO(), TraceMeanField_ELBO()], ids=["weighted", "mean field"])
def test_the_logged_kl_is_the_closed_form_that_the_loss_has(objective):
    """With β = 1 and one particle the loss is −reconstruction + KL to the last digits; a sampled KL is far from it."""
    pair = recipes.gaussian((16,), 3, [8])
    pair.posterior.network.layers[-1].bias.data[3:] = 2.0  # wide, so that log q − log p of samples varies much
    row = pyvae.fit(
        pair, torch.rand(64, 16).round(), objective=objective, epochs=1, batch_size=64, seed=0, progress=False
    ).history[0]
    assert row["train_kl"] > 1
    assert row["train_loss"] == pytest.approx(row["train_kl"] - row["train_reconstruction"], rel=1e-6)


class Scaled(nn.Module):
    """z ~ N(0, 1), x ~ N(z, 1); the density of z, of x or of everything is weighted by hand."""

    def __init__(self, kl=1.0, data=1.0):
        super().__init__()
        self.kl, self.data = kl, data
        self.w, self.m = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(0.1))

    def plate(self, x):
        return pyro.plate("data", len(x))

    def model(self, x):
        with self.plate(x):
            with poutine.scale(scale=self.kl):
                z = pyro.sample("z", dist.Normal(self.m.expand(len(x)), 1.0))
            with poutine.scale(scale=self.data):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        with self.plate(x), poutine.scale(scale=self.kl):
            pyro.sample("z", dist.Normal(self.w * x, 0.7))


class ScaledPartOfMany(Scaled):
    """As above, on batches that stand for 5,000 datapoints."""

    def plate(self, x):
        return pyro.plate("data", 5000, subsample=x)


class ScaledChain(Scaled):
    """Two latents with weights of their own, the second of three parts in a plate, in the order of the model."""

    def model(self, x):
        with self.plate(x):
            with poutine.scale(scale=self.kl):
                z = pyro.sample("z", dist.Normal(self.m.expand(len(x)), 1.0))
            with poutine.scale(scale=self.kl / 3), pyro.plate("parts", 3, dim=-2):
                y = pyro.sample("y", dist.Normal(z, 2.0))
            with poutine.scale(scale=self.data):
                pyro.sample("x", dist.Normal(y.sum(0), 1.0), obs=x)

    def guide(self, x):
        with self.plate(x):
            with poutine.scale(scale=self.kl):
                z = pyro.sample("z", dist.Normal(self.w * x, 0.7))
            with poutine.scale(scale=self.kl / 3), pyro.plate("parts", 3, dim=-2):
                pyro.sample("y", dist.Normal(z + self.w * x, 0.5))


_last = {}


def positive(x):
    """Whether x is positive: one object for both programs, as their masks are compared by identity."""
    if _last.get("x") is not x:
        _last.update(x=x, mask=x > 0)
    return _last["mask"]


class ScaledMask(Scaled):
    """Datapoints that are not positive are masked."""

    def model(self, x):
        with poutine.mask(mask=positive(x)):
            super().model(x)

    def guide(self, x):
        with poutine.mask(mask=positive(x)):
            super().guide(x)


MAKERS = [Scaled, ScaledPartOfMany, ScaledChain, ScaledMask]
WEIGHTS = [{"kl": 0.01}, {"kl": 10.0, "data": 0.5}, {"kl": 1e-3, "data": 1e-3}]


def still(parameters):
    return torch.optim.SGD(parameters, lr=1e-9)


def row_of(pair, x, objective, **arguments):
    settings = {"epochs": 2, "batch_size": len(x), "seed": 0, "progress": False, "optimizer": still} | arguments
    return pyvae.fit(pair, x, objective=objective, **settings).history[-1]


def figures(row):
    return {n: row[n] for n in row if n in TERMS or n.startswith("train_kl")}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("objective", [None, Trace_ELBO(), TraceGraph_ELBO(), TraceMeanField_ELBO()])
def test_weights_by_hand_are_in_the_loss_alone(make, weights, objective):
    """Against the pair without weights, on the same draws; and the loss, by its terms."""
    x = 1.5 * torch.randn(2000)
    plain, row = row_of(make(), x, objective), row_of(make(**weights), x, objective)
    assert figures(row) == pytest.approx(figures(plain), rel=1e-4)
    kl = {n: v for n, v in row.items() if n.startswith("train_kl_")} or {"": row["train_kl"]}
    expected = sum(weights["kl"] * v / (3 if n.endswith("_y") else 1) for n, v in kl.items())
    assert row["train_loss"] == pytest.approx(
        expected - weights.get("data", 1.0) * row["train_reconstruction"], rel=1e-4
    )
    estimate = pyvae.elbo(make(**weights), x, num_particles=50, seed=0)
    for name, value in zip(TERMS, (estimate, estimate.reconstruction.mean(), estimate.kl.mean()), strict=True):
        assert row[name] == pytest.approx(float(value), abs=0.25)


@pytest.mark.parametrize("make", MAKERS)
def test_compiled_steps_log_the_same(make, interpreted):
    x, pair = 1.5 * torch.randn(64), make(kl=0.1)
    eager, compiled = (row_of(pair, x, None, compile=c) for c in (False, True))
    assert interpreted
    assert compiled == pytest.approx(eager, rel=1e-4)


@pytest.mark.parametrize("make", [Scaled, ScaledPartOfMany, ScaledMask])
@pytest.mark.parametrize(
    "objective", [ImportanceWeightedELBO(4), DReG(4, vectorize_particles=False), WeightedELBO(0.1)]
)
def test_other_bounds_log_the_elbo_of_the_same_draws_beside_their_loss(make, objective):
    """L_4 lies above the ELBO that is logged beside it; that of many draws is the estimate."""
    x = 1.5 * torch.randn(2000)
    row, estimate = row_of(make(), x, objective), pyvae.elbo(make(), x, num_particles=50, seed=0)
    assert row["train_elbo"] == pytest.approx(estimate.value, abs=0.15)
    assert row["train_kl"] == pytest.approx(float(estimate.kl.mean()), abs=0.15)
    assert -row["train_loss"] > row["train_elbo"] + 0.005


def test_bounds_whose_runs_do_not_show_it_log_no_elbo():
    row = row_of(Scaled(), torch.randn(50), RenyiELBO(alpha=0, num_particles=3, vectorize_particles=True))
    assert not {*TERMS} & row.keys()


@pytest.mark.parametrize("program", ["model", "guide"])
def test_factors_of_training_alone_are_in_no_figure(program):
    """A term that a program adds while it is trained, such as the commitment to a code, is no part of the ELBO."""

    class Pushed(Scaled):
        def model(self, x):
            super().model(x)
            self.push("model", x)

        def guide(self, x):
            super().guide(x)
            self.push("guide", x)

        def push(self, here, x):
            if self.training and here == program:
                with pyro.plate("pushed", len(x)):
                    pyro.factor("push", 3 + 0 * x, has_rsample=True)

    class Kept(Scaled):
        def model(self, x):
            with self.plate(x):
                pyro.factor("kept", 2 + 0 * x)
            with pyro.plate("others", len(x)):
                z = pyro.sample("z", dist.Normal(self.m.expand(len(x)), 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    x = torch.randn(200)
    plain, pushed, kept = (row_of(make(), x, Trace_ELBO()) for make in (Scaled, Pushed, Kept))
    assert figures(pushed) == pytest.approx(figures(plain), rel=1e-5)
    assert abs(pushed["train_loss"] - plain["train_loss"]) == pytest.approx(3, rel=1e-4)
    assert kept["train_reconstruction"] == pytest.approx(plain["train_reconstruction"] + 2, rel=1e-4)
