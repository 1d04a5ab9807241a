"""A batch may bring what has no row per datapoint, such as a temperature: every tool takes it."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import pyvae
from pyvae.diagnostics import disentanglement, posterior_means
from pyvae.distributions import PartiallyObserved

ROWS, BATCH = 83, 20  # the last batch has as many rows as the constant below


class Scaled(nn.Module):
    """z ~ N(0, I), x ~ N(z, σ² I), with a σ that comes with the data, in plain Pyro."""

    def __init__(self, codes=False):
        super().__init__()
        self.factor, self.codes = nn.Parameter(torch.tensor(0.9)), codes

    def model(self, x, scale, y=None):
        pyro.module("scaled", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            if self.codes:
                pyro.sample("k", dist.Categorical(torch.ones(4)).expand([len(x)]))
            pyro.sample("x", dist.Normal(z, scale.expand(3)).to_event(1), obs=x)

    def guide(self, x, scale, y=None):
        pyro.module("scaled", self)
        variance = 1 / (1 + scale.expand(3).square().reciprocal())
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.factor * x / (1 + scale.square()), variance.sqrt()).to_event(1))
            if self.codes:
                pyro.sample("k", dist.Categorical(torch.ones(4)).expand([len(x)]))


class Bound(Scaled):
    """The same with σ bound to it: what it must give."""

    def __init__(self, scale, codes=False):
        super().__init__(codes)
        self.scale = scale

    def model(self, x, y=None):
        return super().model(x, self.scale)

    def guide(self, x, y=None):
        return super().guide(x, self.scale)


def loader(x, *constants):
    """Batches of x, each with the same constants beside them."""
    return DataLoader(x, BATCH, collate_fn=lambda rows: (torch.stack(rows), *constants))


@pytest.fixture
def x():
    return 1.2 * torch.randn(ROWS, 3)


@pytest.fixture(params=[torch.tensor(0.5), torch.tensor([0.5, 0.6, 0.7])], ids=["number", "vector"])
def scale(request):
    return request.param


TOOLS = {
    "elbo": lambda pair, data: pyvae.elbo(pair, data, seed=0).per_datapoint,
    "log_likelihood": lambda pair, data: pyvae.log_likelihood(pair, data, seed=0).per_datapoint,
    "evaluate": lambda pair, data: pyvae.evaluate(pair, data, seed=0).log_likelihood.per_datapoint,
    "compare": lambda pair, data: (
        pyvae.diagnostics.compare({"a": pair, "b": pair}, data, 5, 0).estimates["b"].per_datapoint
    ),
    "posterior_means": lambda pair, data: posterior_means(pair, data, seed=0)["z"],
    "disentanglement": lambda pair, data: (
        disentanglement(pair, data, torch.arange(ROWS)[:, None] % 2, seed=0).mutual_information
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_it_is_as_if_the_pair_had_it(tool, x, scale):
    found, expected = TOOLS[tool](Scaled(), loader(x, scale)), TOOLS[tool](Bound(scale), loader(x))
    torch.testing.assert_close(found, expected)


def test_codes_are_counted(x, scale):
    assert pyvae.code_usage(Scaled(codes=True), loader(x, scale))["k"].counts.sum() == ROWS


def test_inference_data(x, scale):
    arguments = {"num_samples": 30, "predictive": (2, 30), "seed": 0}
    found = pyvae.to_inference_data(Scaled(), loader(x, scale), **arguments)
    expected = pyvae.to_inference_data(Bound(scale), loader(x), **arguments)
    for group, name in (("posterior", "z"), ("prior_predictive", "x"), ("figures", "elbo"), ("observed_data", "x")):
        np.testing.assert_allclose(found[group][name].values, expected[group][name].values, rtol=1e-5, atol=1e-5)
    with_labels = pyvae.to_inference_data(
        Scaled(), DataLoader(range(20), 20, collate_fn=lambda _: (x[:20], scale, torch.arange(20))), **arguments
    )
    assert list(with_labels.constant_data.data_vars) == ["y"]


def test_diagnosis(x, scale):
    found = pyvae.diagnose(Scaled(), loader(x, scale), 30, seed=0)
    expected = pyvae.diagnose(Bound(scale), loader(x), 30, seed=0)
    values = found.to_dataframe()["value"], expected.to_dataframe()["value"]
    assert [n for n, s in found.sections.items() if s.skipped] == ["codebooks"]
    assert values[0].to_numpy() == pytest.approx(values[1].to_numpy(), rel=1e-3, abs=1e-3)


def test_a_diagnosis_wants_the_same_constants_throughout(x):
    constants = iter(torch.linspace(0.5, 0.6, 100))
    changing = DataLoader(x, BATCH, collate_fn=lambda rows: (torch.stack(rows), next(constants)))
    with pytest.raises(
        pyvae.DataError, match=r"argument 1 of the programs, of shape \(\).*differs from batch to batch"
    ):
        pyvae.diagnose(Scaled(), changing, 30, seed=0)


def test_training(x, scale):
    pair = Scaled()
    result = pyvae.fit(pair, loader(x, scale), validation=loader(x, scale), epochs=2, seed=0, progress=False)
    assert len(result.history) == 2


class Gappy(Scaled):
    """The same, of which what is missing does not count."""

    takes_missing = True

    def model(self, x, scale=0.5):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", PartiallyObserved(dist.Normal(z, scale)).to_event(1), obs=x)

    def guide(self, x, scale=0.5):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.nan_to_num() / 2, scale).to_event(1))


def test_imputation(x):
    x[::3, 1] = torch.nan
    filled = pyvae.impute(Gappy(), x, torch.tensor(0.5), num_particles=20, seed=0)
    torch.testing.assert_close(filled, pyvae.impute(Gappy(), x, num_particles=20, seed=0))
    assert not torch.equal(filled, pyvae.impute(Gappy(), x, torch.tensor(0.7), num_particles=20, seed=0))
    with pytest.raises(pyvae.DataError, match="infinity, first in row 1"):
        pyvae.impute(Gappy(), torch.tensor([[1.0, 2.0, torch.nan], [torch.inf, 1.0, 2.0]]), torch.tensor(0.5))
