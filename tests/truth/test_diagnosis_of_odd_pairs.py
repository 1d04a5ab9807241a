"""A diagnosis is right, or left out with a reason, for programs of unusual plates, priors, guides and data."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.distributions import Normal
from torch.utils.data import DataLoader, TensorDataset

import pyvae
from pyvae.diagnostics import posterior_means, sections
from pyvae.diagnostics.sections import Subject

SIZE, WIDTH = 300, 3


class Exact(nn.Module):
    """p(z) = N(0, 1) and p(x | z) = N(z, 1), so that q(z | x) = N(x / 2, 1/2) is the posterior, moved by ``shift``."""

    def __init__(self, shift=0.0, prior=None, observed=lambda x: x):
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(()))
        self.shift, self.prior, self.observed = shift, prior or dist.Normal(torch.zeros(()), 1.0), observed

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior.expand([WIDTH]).to_event(1))
            return pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=self.observed(x))

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.observed(x) / 2 + self.shift, 0.5**0.5).to_event(1))


class Views(Exact):
    """The same with the elements of x in a plate to the left of that over the data."""

    def model(self, x):
        with pyro.plate("data", len(x)), pyro.plate("views", WIDTH):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x.T)

    def guide(self, x):
        with pyro.plate("data", len(x)), pyro.plate("views", WIDTH):
            pyro.sample("z", dist.Normal(x.T / 2, 0.5**0.5))


@pytest.fixture
def x():
    return torch.randn(SIZE, WIDTH, generator=torch.Generator().manual_seed(0)) * 2**0.5


def ask(section, pair, data, draws=50):
    return section(Subject(pair, data, draws, seed=0, max_memory=2**22))


def values(section):
    return {figure.name: figure.value for figure in section.figures}


def advice(section):
    return " ".join(figure.advice for figure in section.figures).strip()


def test_a_plate_to_the_left_of_the_data(x):
    torch.testing.assert_close(posterior_means(Views(), x)["z"], x / 2)
    here, there = (ask(sections.latents, pair, x) for pair in (Views(), Exact()))
    assert values(here) == values(there) == {"active dimensions": 3, "collapsed dimensions": 0}
    torch.testing.assert_close(torch.tensor(here.table["kl"]), torch.tensor(there.table["kl"]))
    here, there = (ask(sections.aggregated_posterior, pair, x) for pair in (Views(), Exact()))
    assert len(here.table) == WIDTH
    assert abs(here.table["sd"] - 1).max() < 0.2
    assert not any("information" in name for name in values(here))
    assert values(there)["mutual information of x and z"] == pytest.approx(WIDTH * math.log(2) / 2, abs=0.25)
    assert "batch shape (3, 11)" in ask(sections.inference_gap, Views(), x).skipped


@pytest.mark.parametrize("observed", [lambda x: x - 5, lambda x: x.flip(1), lambda x: x[:, :1].expand_as(x)])
def test_what_is_not_observed_as_it_is_given_cannot_be_drawn(observed, x):
    for section in (sections.calibration, sections.predictive):
        assert "observes something else than the first argument" in ask(section, Exact(observed=observed), x).skipped


def test_another_place_is_no_other_width(x):
    section = ask(sections.calibration, Exact(shift=-1.0), x)
    low, high = (norm.cdf(2**0.5 + end) for end in norm.ppf([0.05, 0.95]))
    assert section.table["coverage"].mean() == pytest.approx(high - low, abs=0.05)
    assert "samples are too low" in advice(section)
    assert "samples are too high" in advice(ask(sections.calibration, Exact(shift=1.0), x))
    assert not advice(ask(sections.calibration, Exact(), x))


@pytest.mark.parametrize("prior", [dist.StudentT(2.0, 0.0, 1.0), dist.Cauchy(0.0, 1.0)])
def test_priors_without_a_variance_have_active_latents(prior, x):
    section = ask(sections.latents, Exact(prior=prior), x)
    assert values(section)["active dimensions"] == WIDTH
    assert not advice(section)


def test_priors_far_wider_than_the_latents_are_no_collapse(x):
    section = ask(sections.latents, Exact(prior=dist.Uniform(-20.0, 20.0)), x)
    assert values(section)["active dimensions"] == 0
    assert "the prior is far wider" in advice(section)


@pytest.mark.parametrize("size", [20, 100, 300])
def test_noise_of_a_chain_is_no_activity(size):
    class Chain(nn.Module):
        """A guide that is the prior: no latent knows of x."""

        def __init__(self):
            super().__init__()
            self.parameter = nn.Parameter(torch.zeros(()))

        def guide(self, x):
            with pyro.plate("data", len(x)):
                self.draw()

        def model(self, x):
            with pyro.plate("data", len(x)):
                self.draw()
                pyro.sample("x", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1), obs=x)

        def draw(self):
            z = pyro.sample("z_1", dist.Normal(torch.zeros(20), 1.0).to_event(1))
            pyro.sample("z_2", dist.Normal(z, 0.1).to_event(1))

    section = ask(sections.latents, Chain(), torch.randn(size, WIDTH))
    assert values(section)["active dimensions"] == 0
    assert "collapsed" in advice(section)


def test_a_factor_of_the_guide_outside_of_the_plate_is_refused(x):
    class Regularized(Exact):
        def guide(self, x):
            pyro.factor("penalty", torch.tensor(1.0), has_rsample=False)
            super().guide(x)

    with pytest.raises(pyvae.PairError, match="site 'penalty' of the guide lies outside of the data plate"):
        pyvae.log_weights(Regularized(), x)


@pytest.mark.parametrize("length", [7, 11, 64])
def test_constants_that_a_loader_adds_are_no_data(length, x):
    class Shifted(Exact):
        def model(self, x, constants):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(WIDTH), 1.0).to_event(1))
                pyro.factor("f", constants.sum().expand(len(x)))
                pyro.sample("x", dist.Normal(z.reshape(len(x), WIDTH), 1.0).to_event(1), obs=x)

        def guide(self, x, constants):
            super().guide(x)

    def collate(rows):
        return torch.stack([row[0] for row in rows]), torch.ones(length)

    loader = DataLoader(TensorDataset(x[:71]), batch_size=32, collate_fn=collate)  # the last batch has 7
    found = pyvae.elbo(Shifted(), loader, num_particles=5, seed=0).per_datapoint - length
    truth = Normal(0.0, 2**0.5).log_prob(x[:71]).sum(-1).double()
    torch.testing.assert_close(found, truth, atol=1e-4, rtol=0)


def test_a_plate_of_the_days_of_a_week():
    class Week(nn.Module):
        def __init__(self):
            super().__init__()
            self.parameter = nn.Parameter(torch.zeros(()))

        def model(self, x):
            with pyro.plate("shops", len(x), dim=-2), pyro.plate("days", 7, dim=-1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        def guide(self, x):
            with pyro.plate("shops", len(x), dim=-2), pyro.plate("days", 7, dim=-1):
                pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    x = torch.randn(20, 7)
    truth = Normal(0.0, 2**0.5).log_prob(x).sum(-1).double()
    torch.testing.assert_close(pyvae.log_likelihood(Week(), x, 10).per_datapoint, truth, atol=1e-4, rtol=0)
    assert len(ask(sections.latents, Week(), x).table) == 7


def test_the_mutual_information_of_wide_latents_needs_little_memory():
    """In parts, as at once."""
    pair, data = pyvae.recipes.gaussian((WIDTH,), 40, [8]), torch.randn(100, WIDTH).sigmoid()
    in_parts, at_once = (
        sections.aggregated_posterior(Subject(pair, data, 50, seed=0, max_memory=memory)) for memory in (1000, 2**30)
    )
    assert values(in_parts) == pytest.approx(values(at_once))
