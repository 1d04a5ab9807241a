"""Paired differences against those of densities in closed form, and their standard errors against replications."""

import copy
import json

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import pyvae
from pyvae.diagnostics import Comparison, Estimate
from pyvae.errors import ArgumentError, DataError, PairError


class Linear(nn.Module):
    """x ~ N(w z, I) with z ~ N(0, 1), and its posterior, or a guide that is wider by a factor."""

    def __init__(self, w, factor=1.0):
        super().__init__()
        self.register_buffer("w", torch.as_tensor(w, dtype=torch.float64))
        self.factor = factor

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(self.w * z[..., None], 1.0).to_event(1), obs=x)

    def guide(self, x):
        precision = 1 + self.w.square().sum()
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ self.w / precision, self.factor * precision**-0.5))

    def exact(self, x):
        """log N(x; 0, w wᵀ + I), (N,)."""
        covariance = torch.outer(self.w, self.w) + torch.eye(len(self.w), dtype=torch.float64)
        return torch.distributions.MultivariateNormal(torch.zeros_like(self.w), covariance).log_prob(x)


W = [1.0, 0.5, -0.5]
OTHER = [0.8, 0.7, -0.3]


def data(size):
    z = torch.randn(size, 1, dtype=torch.float64)
    return z * torch.tensor(W, dtype=torch.float64) + torch.randn(size, 3, dtype=torch.float64)


def test_with_exact_guides_the_difference_is_that_of_the_densities():
    x, pairs = data(500), {"other": Linear(OTHER), "true": Linear(W), "none": Linear([0.0, 0.0, 0.0])}
    comparison = pyvae.compare(pairs, x, num_particles=3, seed=0)
    exact = {name: pair.exact(x) for name, pair in pairs.items()}
    assert list(comparison.estimates) == sorted(exact, key=lambda name: -exact[name].mean())
    for name in pairs:
        gap, paired = comparison.difference(name), (exact[name] - exact[comparison.best]).numpy()
        assert gap.value == pytest.approx(paired.mean(), abs=1e-10)
        assert gap.standard_error == pytest.approx(paired.std(ddof=1) / 500**0.5 if paired.any() else 0, abs=1e-10)
        assert gap.monte_carlo_standard_error == pytest.approx(0, abs=1e-6)


def test_with_other_guides_it_is_within_its_monte_carlo_error():
    x, pairs = data(300), {"true": Linear(W, factor=1.5), "none": Linear([0.3, 0.0, 0.0], factor=1.3)}
    exact = {name: pair.exact(x) for name, pair in pairs.items()}
    truth = float((exact["none"] - exact["true"]).mean())
    gap = pyvae.compare(pairs, x, num_particles=2000, seed=0).difference("none")
    assert 0 < gap.monte_carlo_standard_error < gap.standard_error
    # the bound itself is lower by half the variance of its estimate, which here is less than the error
    assert abs(gap.value - truth) < 4 * gap.monte_carlo_standard_error + 1e-4


@pytest.mark.slow
def test_the_standard_errors_are_those_of_replications():
    """Of new data for one, of new draws for the other; a spread over R replications is known to 1 / √(2 R)."""
    replications = 100
    pairs = {"true": Linear(W), "other": Linear(OTHER)}
    gaps = []
    for _ in range(replications):
        comparison = pyvae.compare(pairs, data(50), num_particles=2)
        sign = 1 if comparison.best == "true" else -1
        gap = comparison.difference("other" if sign == 1 else "true")
        gaps.append((sign * gap.value, gap.standard_error))
    values, errors = np.array(gaps).T
    assert values.std() == pytest.approx(np.sqrt(np.mean(errors**2)), rel=4 / np.sqrt(2 * replications))

    x, wide = data(20), {"a": Linear(W, factor=1.5), "b": Linear(W, factor=1.5)}
    gaps = []
    for seed in range(replications):
        comparison = pyvae.compare(wide, x, num_particles=50, seed=seed)
        sign = 1 if comparison.best == "a" else -1
        gap = comparison.difference("b" if sign == 1 else "a")
        gaps.append((sign * gap.value, gap.monte_carlo_standard_error))
    values, errors = np.array(gaps).T
    assert values.std() == pytest.approx(np.sqrt(np.mean(errors**2)), rel=4 / np.sqrt(2 * replications))
    assert abs(values.mean()) < 4 * values.std() / replications**0.5


class Noisy(Dataset):
    """Data that are drawn anew each time."""

    def __len__(self):
        return 30

    def __getitem__(self, index):
        return torch.randn(3, dtype=torch.float64)


def test_all_pairs_see_the_same_random_data():
    pairs = {"one": Linear(W), "a copy": copy.deepcopy(Linear(W)), "other": Linear(OTHER)}
    state = torch.get_rng_state()
    comparison = pyvae.compare(pairs, Noisy(), num_particles=2, seed=0)
    one, same = (comparison.estimates[name].per_datapoint for name in ("one", "a copy"))
    torch.testing.assert_close(one, same, rtol=0, atol=1e-12)
    assert torch.equal(state, torch.get_rng_state())


def test_an_estimate_depends_on_the_seed_and_the_name_alone():
    x, pairs = data(20), {"a": Linear(W, 1.5), "b": Linear(OTHER, 1.5)}
    alone = pyvae.compare(pairs, x, seed=1)
    more = pyvae.compare({"c": Linear([0.0, 0.0, 1.0]), **dict(reversed(pairs.items()))}, x, seed=1)
    for name in pairs:
        assert torch.equal(alone.estimates[name].per_datapoint, more.estimates[name].per_datapoint)
    assert not torch.equal(
        alone.estimates["a"].per_datapoint, pyvae.compare(pairs, x, seed=2).estimates["a"].per_datapoint
    )


def test_the_sentence_says_whether_the_data_tell_pairs_apart():
    x = data(400)
    clear = pyvae.compare({"true": Linear(W), "none": Linear([0.0, 0.0, 0.0])}, x, seed=0)
    assert "'true' gives a datapoint exp(" in clear.verdict
    assert "more than 2 standard errors" in clear.verdict
    assert "not more" not in clear.verdict
    near = pyvae.compare({"one": Linear(W, 1.5), "two": Linear(W, 1.5)}, x, seed=0)
    assert "not more than 2 standard errors" in near.verdict
    assert "do not distinguish the two" in near.verdict
    assert (
        "A single datapoint has no standard error" in pyvae.compare({"a": Linear(W), "b": Linear(OTHER)}, x[:1]).verdict
    )


def test_tables():
    estimates = {
        "good": Estimate(torch.tensor([-1.0, -2.0, -3.0]).double(), torch.full((3,), 0.3).double(), 10),
        "bad": Estimate(torch.tensor([-2.0, -2.0, -5.0]).double(), torch.full((3,), 0.4).double(), 10),
    }
    comparison = Comparison(estimates, {"good": "L_10", "bad": "ELBO"}, seed=0)
    gap = comparison.difference("bad")
    assert gap.value == pytest.approx(-1)
    assert gap.standard_error == pytest.approx(1 / 3**0.5)
    assert gap.monte_carlo_standard_error == pytest.approx(0.5 / 3**0.5)
    lines = str(comparison).splitlines()
    assert lines[1].split() == ["good", "L_10", "-2.000", "0.577", "0.173", "0.000", "0.000", "0.000"]
    assert lines[2].split() == ["bad", "ELBO", "-3.000", "1.000", "0.231", "-1.000", "0.577", "0.289"]
    table = comparison.to_dataframe()
    assert list(table.index) == ["good", "bad"]
    assert table.loc["bad", "difference_dataset_standard_error"] == pytest.approx(1 / 3**0.5)
    assert json.loads(json.dumps(comparison.figures()))["bad"]["bound"] == "ELBO"
    with pytest.raises(ArgumentError, match=r"no pair 'ugly'; the pairs are \['good', 'bad'\]"):
        comparison.difference("ugly")


def gaussian(likelihood):
    return pyvae.recipes.gaussian((5,), 2, [8], likelihood=likelihood)


def test_likelihoods_of_different_kinds_are_refused():
    lk = pyvae.likelihoods
    x = torch.rand(20, 5).round()
    levels = {n: pyvae.recipes.gaussian((5,), 2, [8], likelihood=lambda net, s, n=n: lk.Categorical(net, s, levels=n))
              for n in (2, 4)}  # fmt: skip
    binary, density = gaussian(lk.Bernoulli), gaussian(lk.Normal)
    with pytest.raises(PairError, match="a probability of 2 levels for 5 numbers, but 'n' a density for 5 numbers"):
        pyvae.compare({"b": binary, "n": density}, x)
    with pytest.raises(PairError, match=r"a probability of 4 levels .*, but 'two' a probability of 2 levels"):
        pyvae.compare({"four": levels[4], "two": levels[2]}, x)
    pyvae.compare({"b": binary, "two": levels[2]}, x)  # of binary data, both are probabilities
    grey = torch.rand(20, 5)
    with pytest.raises(PairError, match=r"a cross-entropy of intensities .*, but 'c' a density"):
        pyvae.compare({"b": binary, "c": gaussian(lk.ContinuousBernoulli)}, grey)
    counts = torch.randint(5, (20, 5)).float()
    with pytest.raises(PairError, match=r"a probability of integers .*, but 'n' a density"):
        pyvae.compare({"p": gaussian(lk.Poisson), "n": density}, counts)


def test_missing_values_and_codes_are_compared_as_what_they_are():
    x = torch.randn(20, 5).masked_fill(torch.rand(20, 5) < 0.3, torch.nan)
    pairs = {f"{d}": pyvae.recipes.incomplete((5,), d, [8]) for d in (1, 2)}
    assert pyvae.compare(pairs, x).best in pairs
    images = torch.rand(10, 1, 8, 8).round()
    codes = pyvae.recipes.vqvae((1, 8, 8), num_codes=8, channels=[4, 4])
    comparison = pyvae.compare({"vq": codes, "vae": pyvae.recipes.gaussian((1, 8, 8), 2, [8])}, images, seed=0)
    assert comparison.bounds == {"vq": "ELBO", "vae": "L_100"}
    assert comparison.estimates["vq"].value == pytest.approx(pyvae.elbo(codes, images, 1).value, rel=1e-5)


@pytest.mark.parametrize(
    ("pairs", "match"),
    [
        ({"one": Linear(W)}, "pairs is 1 of them; expected a dict with two or more"),
        ([Linear(W), Linear(W)], "pairs is a list; expected a dict"),
        ({"a": Linear(W), "b": Linear([1.0])}, "pair 'b'"),
        ({"a": Linear(W), "b": nn.Linear(2, 2)}, "pair 'b': got a Linear; expected a torch.nn.Module with the methods"),
    ],
)
def test_what_cannot_be_compared_is_refused(pairs, match):
    with pytest.raises((ArgumentError, PairError, DataError), match=match):
        pyvae.compare(pairs, data(10))
