"""Bits per dimension are of the elements that count, in the units that the data had."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader, Subset

import pyvae
from pyvae import datasets, likelihoods, recipes
from pyvae.cli.evaluate import print_figures
from pyvae.cli.key_figures import key_figures
from pyvae.datasets import DataSplits, InMemory
from pyvae.distributions import PartiallyObserved

N, D = 40, 6


class Constant(nn.Module):
    """A latent that says nothing, and a likelihood of x that is made by ``observe(x, *context)``."""

    takes_missing = True

    def __init__(self, observe):
        super().__init__()
        self.observe, self.shift = observe, nn.Parameter(torch.zeros(()))

    def model(self, x, *context):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            self.observe(x, *context)

    def guide(self, x, *context):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.shift, 1.0).expand([len(x)]))


def bits(pair, data, **options):
    evaluation = pyvae.evaluate(pair, data, num_particles=2, seed=0, **options)
    figure = evaluation.figures()["bits_per_dimension"]
    tree = pyvae.to_inference_data(pair, data, num_samples=2, predictive=None, seed=0)
    assert tree.figures.attrs["bits_per_dimension"] == pytest.approx(figure, rel=1e-6, nan_ok=True)
    assert tree.figures.attrs["bits_of"] == evaluation.bits_of
    return figure, evaluation.bits_of


def masked_events(x, mask):
    pyro.sample("x", dist.Normal(0.3, 2.0).expand(x.shape).mask(mask).to_event(1), obs=x)


def masked_rows(x, mask):
    with poutine.mask(mask=mask.all(1)):
        pyro.sample("x", dist.Normal(0.3, 2.0).expand(x.shape).to_event(1), obs=x)


def gaps(x, mask):
    x = x.masked_fill(~mask, torch.nan)
    pyro.sample("x", PartiallyObserved(dist.Normal(0.3, 2.0).expand(x.shape)).to_event(1), obs=x)


def two_sites(x, mask):
    pyro.sample("left", dist.Normal(0.3, 2.0).expand(x[:, :2].shape).mask(mask[:, :2]).to_event(1), obs=x[:, :2])
    pyro.sample("right", dist.Normal(0.3, 2.0).expand(x[:, 2:].shape).mask(mask[:, 2:]).to_event(1), obs=x[:, 2:])


@pytest.mark.parametrize("observe", [masked_events, masked_rows, gaps, two_sites], ids=lambda o: o.__name__)
def test_bits_are_shared_among_what_counts(observe):
    x, mask = torch.randn(N, D), torch.arange(D) < torch.randint(1, D + 1, (N, 1))
    counts = mask.all(1, keepdim=True).expand(N, D) if observe is masked_rows else mask
    by_hand = -dist.Normal(0.3, 2.0).log_prob(x)[counts].mean() / math.log(2)
    figure, told = bits(Constant(observe), (x, mask))
    assert figure == pytest.approx(float(by_hand), rel=1e-5)
    assert told == "x as it was given"
    # the figure is of all data, not of some batch, and padding changes nothing
    loader = DataLoader(torch.utils.data.TensorDataset(x, mask), batch_size=7)
    padded = torch.where(counts, x, torch.randn(N, D))
    assert bits(Constant(observe), loader)[0] == pytest.approx(figure, rel=1e-6, nan_ok=True)
    assert bits(Constant(observe), (padded, mask))[0] == pytest.approx(figure, rel=1e-6, nan_ok=True)


def test_recipes_of_incomplete_data_share_bits_among_what_is_observed():
    x = (torch.rand(N, D) < 0.5).float().masked_fill(torch.rand(N, D) < 0.4, torch.nan)
    pair = recipes.incomplete((D,), 2, [8], likelihood=likelihoods.Bernoulli)
    evaluation = pyvae.evaluate(pair, x, num_particles=20, seed=0)
    by_hand = -evaluation.log_likelihood.per_datapoint.sum() / math.log(2) / (~x.isnan()).sum()
    assert evaluation.figures()["bits_per_dimension"] == pytest.approx(float(by_hand), rel=1e-9)


def test_where_nothing_is_observed_there_are_no_bits():
    figure, _ = bits(Constant(masked_events), (torch.randn(N, D), torch.zeros(N, D, dtype=torch.bool)))
    assert math.isnan(figure)


def splits(x, levels=None):
    return DataSplits("mine", InMemory(x), InMemory(x.flip(0)), num_classes=0, levels=levels)


@pytest.mark.parametrize("shape", [(D,), (3, 2, 2)])
@pytest.mark.parametrize("missing", [False, True])
def test_a_normal_has_the_same_bits_before_and_after_a_standardization(shape, missing):
    channels = (-1, *[1] * (len(shape) - 1))
    x = torch.randn(N, *shape) * torch.arange(1.0, shape[0] + 1).reshape(channels) * 3 + 5
    x = x.masked_fill(torch.rand(x.shape) < 0.3, torch.nan) if missing else x
    data = splits(x)
    standard = datasets.standardization(data)
    record = standard.preprocessing[0]
    mean, scale = (torch.tensor(record[name]).reshape(channels) for name in ("mean", "scale"))

    def observe(loc, sd):
        normal = dist.Normal(loc.expand(shape), sd.expand(shape))
        fn = (PartiallyObserved(normal) if missing else normal).to_event(len(shape))
        return lambda x: pyro.sample("x", fn, obs=x)

    raw = Constant(observe(mean, scale))
    given = Constant(observe(torch.zeros(()), torch.ones(())))
    expected, _ = bits(raw, data.test)
    log_p = dist.Normal(mean, scale, validate_args=False).log_prob(data.test.tensors[0])
    assert expected == pytest.approx(float(-log_p.nanmean() / math.log(2)), rel=1e-5)
    held_out = standard.hold_out(0.25)[1]
    for some in (standard.test, standard.test.fixed(), standard.without_labels().test, DataLoader(standard.test, 7)):
        figure, told = bits(given, some)
        assert figure == pytest.approx(expected, rel=1e-5)
        assert told == "x in the units that it had before it was standardized"
    if not missing:
        rows = Subset(standard.test, range(N))
        assert bits(given, rows)[0] == pytest.approx(expected, rel=1e-5)
        before = dist.Normal(mean, scale).log_prob(data.hold_out(0.25)[1][:][0])
        assert bits(given, held_out)[0] == pytest.approx(float(-before.mean() / math.log(2)), rel=1e-5)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_a_uniform_density_of_dequantized_levels_has_the_logarithm_of_their_number(levels):
    x = torch.randint(levels, (N, D)).float() / (levels - 1)
    data = datasets.dequantization(splits(x, levels))
    uniform = Constant(lambda x: pyro.sample("x", dist.Uniform(0.0, 1.0).expand([D]).to_event(1), obs=x))
    figure, told = bits(uniform, data.test)
    assert figure == pytest.approx(math.log2(levels), rel=1e-6)
    assert told == f"the {levels} levels of x, from above"
    # of levels that were standardized afterwards, the same distribution has the same bits
    twice = datasets.standardization(data)
    record = twice.preprocessing[1]
    mean, scale = (torch.tensor(record[name]) for name in ("mean", "scale"))
    moved = dist.Uniform(-mean / scale - 1e-4, (1 - mean) / scale + 1e-4).to_event(1)
    figure, told = bits(Constant(lambda x: pyro.sample("x", moved, obs=x)), twice.test)
    assert figure == pytest.approx(math.log2(levels), abs=1e-3)
    assert told == f"the {levels} levels of x, from above"


def test_bits_of_binarized_data_say_so():
    data = splits(torch.rand(N, D))
    coin = Constant(lambda x: pyro.sample("x", dist.Bernoulli(0.5).expand([D]).to_event(1), obs=x))
    for made in (datasets.dynamic_binarization(data), datasets.static_binarization(data)):
        assert bits(coin, made.test) == (pytest.approx(1.0), "x binarized, not of its intensities")


def test_probabilities_have_no_units_and_only_x_has_those_of_x():
    """A label beside x, and a probability of what is no density, stay as they are."""
    x, y = torch.randn(N, 2) * 4, torch.randint(3, (N,))
    data = DataSplits("mine", InMemory(x, y), InMemory(x, y), num_classes=3, levels=None)
    standard = datasets.standardization(data)
    mean, scale = (torch.tensor(standard.preprocessing[0][name]) for name in ("mean", "scale"))

    def observe(x, y):
        pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1), obs=x)
        pyro.sample("y", dist.Categorical(torch.ones(3)), obs=y)

    nats = -dist.Normal(mean, scale).log_prob(x).sum(1).mean() + math.log(3)
    figure, _ = bits(Constant(observe), standard.test)
    assert figure == pytest.approx(float(nats / 3 / math.log(2)), rel=1e-5)


def test_probabilities_of_counts_are_not_changed_by_a_scale():
    x, units = torch.poisson(torch.full((N, D), 3.0)), datasets.Units(torch.tensor(2.0).log(), "pairs of x")
    pair = Constant(lambda x: pyro.sample("x", dist.Poisson(torch.full((D,), 3.0)).to_event(1), obs=x))
    figure, told = bits(pair, InMemory(x, units=units))
    assert figure == pytest.approx(float(-dist.Poisson(3.0).log_prob(x).mean() / math.log(2)), rel=1e-5)
    assert told == "x as preprocessed"


def test_a_pair_that_observes_no_site_of_the_data_as_they_are_is_told_of_as_preprocessed():
    data = datasets.standardization(splits(torch.randn(N, D) * 4))
    pair = Constant(lambda x: pyro.sample("x", dist.Normal(torch.zeros(D), 1.0).to_event(1), obs=x.flip(1)))
    figure, told = bits(pair, data.test)
    assert told == "x as preprocessed"
    by_hand = -dist.Normal(0.0, 1.0).log_prob(data.test[:][0]).mean() / math.log(2)
    assert figure == pytest.approx(float(by_hand), rel=1e-5)


def test_a_transform_of_ones_own_says_of_what_the_bits_are():
    doubled = splits(torch.randn(N, D)).transformed(lambda x: 2 * x, result_levels=None, name="doubling")
    normal = Constant(lambda x: pyro.sample("x", dist.Normal(torch.zeros(D), 1.0).to_event(1), obs=x))
    assert bits(normal, doubled.test)[1] == "x as preprocessed"
    units = datasets.Units().rescaled(torch.tensor(0.5).log(), "x")
    own = splits(torch.randn(N, D)).transformed(lambda x: 2 * x, result_levels=None, units=units, name="doubling")
    figure, told = bits(normal, own.test)
    by_hand = -dist.Normal(0.0, 0.5).log_prob(own.test.tensors[0]).mean() / math.log(2)
    assert figure == pytest.approx(float(by_hand), rel=1e-5)
    assert told == "x"


def test_tables_and_pages_say_of_what_the_bits_are(capsys):
    data = datasets.standardization(splits(torch.randn(N, D) * 4))
    normal = Constant(lambda x: pyro.sample("x", dist.Normal(torch.zeros(D), 1.0).to_event(1), obs=x))
    evaluation = pyvae.evaluate(normal, data.test, num_particles=2, seed=0)
    figures = {figure["name"]: figure for figure in key_figures(evaluation, conditional=False)}
    assert figures["Bits per dimension"]["value"] == f"{evaluation.bits_per_dimension:.3f}"
    assert figures["Bits per dimension"]["meaning"].endswith("of x in the units that it had before it was standardized")
    print_figures(Console(width=200), evaluation, "figures")
    assert "bits: of x in the units that it had before it was standardized" in capsys.readouterr().out
    assert evaluation.record()["bits_of"] == evaluation.bits_of
