"""Densities against probabilities, draws from outside of a support, and densities that are not finite."""

import re

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn
from torch.distributions import transforms

import pyvae

FIGURES = {
    "elbo": pyvae.elbo,
    "log_likelihood": pyvae.log_likelihood,
    "evaluate": pyvae.evaluate,
    "log_weights": lambda pair, x: pyvae.log_weights(pair, x, num_particles=5),
    "compare": lambda pair, x: pyvae.compare({"one": pair, "other": pair}, x),
    "diagnose": lambda pair, x: pyvae.diagnose(pair, x, num_particles=25, seed=0),
    "fit": lambda pair, x: pyvae.fit(pair, x, objective=Trace_ELBO(), epochs=1, progress=False),
    "validation": lambda pair, x: pyvae.fit(pair, x[18:], validation=x, epochs=1, progress=False, seed=0),
}


class Two(nn.Module):
    """A latent of any prior and any guide, and x ~ N(sum of z, 1)."""

    def __init__(self, prior, guide):
        super().__init__()
        self.prior, self.posterior = prior, guide
        self.b = nn.Parameter(torch.zeros(3))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior(self.b))
            pyro.sample("x", dist.Normal(z.reshape(len(x), -1).double().mean(1).to(x), 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.posterior(self.b + x[:, None]))


T = torch.tensor(0.5)
KINDS = {
    "relaxed one-hot in the guide": (
        lambda b: dist.OneHotCategorical(logits=b, validate_args=False),
        lambda b: dist.RelaxedOneHotCategorical(T, logits=b),
    ),
    "straight-through one-hot in the guide": (
        lambda b: dist.OneHotCategorical(logits=b),
        lambda b: dist.RelaxedOneHotCategoricalStraightThrough(T, logits=b),
    ),
    "straight-through bits in the guide": (
        lambda b: dist.Bernoulli(logits=b).to_event(1),
        lambda b: dist.RelaxedBernoulliStraightThrough(T, logits=b).to_event(1),
    ),
    "relaxed bits in the model": (
        lambda b: dist.RelaxedBernoulli(T, logits=b, validate_args=False).to_event(1),
        lambda b: dist.Bernoulli(logits=b).to_event(1),
    ),
    "counts by a density": (
        lambda b: dist.Poisson(b.exp(), validate_args=False).to_event(1),
        lambda b: dist.LogNormal(b, 0.1).to_event(1),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("figure", FIGURES)
def test_a_density_against_a_probability_is_refused(kind, figure):
    with pytest.raises(pyvae.PairError, match=r"site 'z' has .*(a density|probabilities) .*ratio means nothing"):
        FIGURES[figure](Two(*KINDS[kind]), torch.randn(30))


OUTSIDE = {
    "exponential": (lambda b: dist.Exponential(b.exp(), validate_args=False), lambda b: dist.Normal(b, 1.0)),
    "beta": (lambda b: dist.Beta(b.exp(), 2.0), lambda b: dist.LogNormal(b, 1.0)),
    "dirichlet": (lambda b: dist.Dirichlet(b.exp(), validate_args=False), lambda b: dist.Normal(b, 1.0)),
    "counts": (
        lambda b: dist.Binomial(2, logits=b, validate_args=False),
        lambda b: dist.Poisson((b + 2).exp()),
    ),
    "uniform": (lambda b: dist.Uniform(0 * b, 1.0), lambda b: dist.Normal(b, 1.0)),
}


@pytest.mark.parametrize("kind", OUTSIDE)
@pytest.mark.parametrize("figure", ["elbo", "log_likelihood", "log_weights", "fit", "compare"])
def test_draws_from_outside_of_the_support_are_refused(kind, figure):
    def events(make):
        return lambda b: make(b) if make(b).event_shape else make(b).to_event(1)

    prior, guide = map(events, OUTSIDE[kind])
    with pytest.raises(pyvae.PairError, match=r"draws 'z' in \[.*outside of the support.*: draw it there"):
        FIGURES[figure](Two(prior, guide), torch.randn(30))


LEGITIMATE = {
    "relaxed in both": (
        lambda b: dist.RelaxedOneHotCategorical(T, logits=b),
        lambda b: dist.RelaxedOneHotCategorical(T + 0.2, logits=b),
    ),
    "categorical in both": (lambda b: dist.OneHotCategorical(logits=b), lambda b: dist.OneHotCategorical(logits=b)),
    "bijected": (
        lambda b: dist.Beta(b.exp() + 1, 2.0).to_event(1),
        lambda b: dist.TransformedDistribution(dist.Normal(b, 1.0).to_event(1), transforms.SigmoidTransform()),
    ),
    "points": (
        lambda b: dist.OneHotCategorical(logits=b),
        lambda b: dist.Delta(torch.eye(3)[b.argmax(-1)], event_dim=1),
    ),
}


@pytest.mark.parametrize("kind", LEGITIMATE)
def test_the_same_measure_in_both_is_not(kind):
    assert torch.isfinite(pyvae.elbo(Two(*LEGITIMATE[kind]), torch.randn(30)).per_datapoint).all()


class Observing(nn.Module):
    """z ~ N(0, 1), and x under a likelihood whose density may be infinite, or zero, at some x."""

    def __init__(self, likelihood):
        super().__init__()
        self.likelihood, self.w = likelihood, nn.Parameter(torch.tensor(0.1))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
            pyro.sample("x", self.likelihood(z[:, None].expand_as(x)).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.w * x.mean(-1), 1.0))


def with_one(value):
    x = torch.rand(40, 4) * 0.8 + 0.1
    x[17, 2] = value
    return x


EDGES = {
    "a zero under a Gamma": (
        lambda z: dist.Gamma(0.5, z.exp()),
        0.0,
        r"is inf in row .*the value is 0, on the edge.*Gamma",
    ),
    "a zero under a Gamma without mass": (
        lambda z: dist.Gamma(2.5, z.exp()),
        0.0,
        r"is -inf in row .*value is 0.*edge.*Gamma",
    ),
    "a one under a Beta": (
        lambda z: dist.Beta(z.exp() + 1, 3.0),
        1.0,
        r"is -inf in row .*the value is 1, on the edge.*Beta",
    ),
    "no probability": (
        lambda z: dist.Uniform(z.detach() * 0, 0.95, validate_args=False),
        0.97,
        r"is -inf in row .*the value is 0\.97, outside of the support.*Uniform",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("figure", FIGURES)
def test_an_infinite_density_names_site_row_and_value(edge, figure):
    likelihood, value, message = EDGES[edge]
    with pytest.raises(pyvae.NonFiniteError) as caught:
        FIGURES[figure](Observing(likelihood), with_one(value))
    text = str(caught.value)
    assert "log density of site 'x' of the model is not finite" in text
    assert re.search(message, text), text
    assert "smaller learning rate" not in text
    assert "Move the data inside" in text
    if figure not in {"fit", "diagnose"}:  # which shuffle
        assert "in row 17," in text


def test_the_row_is_that_of_the_data_however_they_are_cut():
    pair, x = Observing(EDGES["a zero under a Gamma"][0]), with_one(0.0)
    for memory in (1, 2000, 2**27):
        for count in (1, 3):
            with pytest.raises(pyvae.NonFiniteError, match="in row 17, where the value is 0"):
                pyvae.elbo(pair, x, num_particles=count, max_memory=memory)
    with pytest.raises(pyvae.NonFiniteError, match="in row 17"):
        pyvae.elbo(pair, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=40))


def test_a_parameter_that_is_to_blame_is_named():
    def likelihood(z):
        return dist.Normal(z, torch.where(z > -torch.inf, torch.nan, 1.0), validate_args=False)

    with pytest.raises(pyvae.NonFiniteError, match=r"'x' .* nan in row 0, .*parameter 'scale' of Normal is nan"):
        pyvae.elbo(Observing(likelihood), with_one(0.5))


def test_the_guides_site_is_named():
    class Broken(Observing):
        def guide(self, x):
            with pyro.plate("data", len(x)):
                scale = torch.where(x[:, 2] == 0.95, torch.nan, 1.0)
                pyro.sample("z", dist.Normal(0.0, scale, validate_args=False))

    pair = Broken(lambda z: dist.Normal(z, 1.0))
    with (
        pyro.validation_enabled(False),
        pytest.raises(pyvae.NonFiniteError, match=r"the value of site 'z' of the guide .*: it is nan in row 17"),
    ):
        pyvae.elbo(pair, with_one(0.95), num_particles=200, seed=0)


def test_points_on_the_edge_of_a_prior():
    class Edge(Observing):
        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Gamma(torch.full((len(x),), 2.0), 1.0))
                pyro.sample("x", self.likelihood(z[:, None].expand_as(x)).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Delta((x.mean(-1) - 0.1).relu()))

    x = with_one(0.5)
    x[3] = 0
    with pytest.raises(
        pyvae.NonFiniteError, match=r"'z' of the model .* row 3, where .* 0, on the edge.*the guide's draws"
    ):
        pyvae.elbo(Edge(lambda z: dist.Normal(z, 1.0)), x)


def test_draws_of_no_weight_are_no_error_where_others_have_one():
    """Importance weights of zero are right: E[w] over q = N(0, 1) for the uniform prior on [-1, 1], by hand."""

    class Box(nn.Module):
        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
                inside = z.abs() < 1
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)
                pyro.factor("box", torch.where(inside, 0.0, -torch.inf))

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))

    x, grid = torch.randn(10), torch.linspace(-1, 1, 4001).double()
    joint = dist.Normal(0.0, 1.0).log_prob(grid) + dist.Normal(grid, 1.0).log_prob(x[:, None].double())
    exact = joint.logsumexp(1) + torch.log(grid[1] - grid[0])
    estimate = pyvae.log_likelihood(Box(), x, num_particles=20_000, seed=0)
    assert torch.allclose(estimate.per_datapoint, exact, atol=0.05)
    with pytest.raises(pyvae.NonFiniteError, match="'box' of the model is not finite: it is -inf"):
        pyvae.elbo(Box(), x, num_particles=100)
