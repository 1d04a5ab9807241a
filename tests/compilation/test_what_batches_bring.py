"""Batches that a compiled step or evaluation was not made for."""

import importlib
import pickle

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

import pyvae
from pyvae import likelihoods, recipes
from tests.compilation.pairs import WIDTH, ByHand

pytestmark = pytest.mark.usefixtures("interpreted")


def binary(rows=64):
    return torch.rand(rows, WIDTH).round()


def both_errors(kind, make, data):
    """What the eager and the compiled run say."""
    said = []
    for compile in (False, True):
        with pytest.raises(kind) as caught:
            pyvae.fit(make(), data, epochs=3, batch_size=8, seed=1, compile=compile, progress=False)
        said.append(str(caught.value))
    return said


@pytest.mark.parametrize("value", [1.5, 7.0, -1.0])
@pytest.mark.parametrize("row", [30, 41, 55])
def test_values_outside_of_the_support(tmp_path, value, row):
    """Data on disk are not looked through beforehand, and a recording validates nothing by itself."""
    x = binary()
    x[row] = value
    np.save(tmp_path / "x.npy", x.numpy())
    data = pyvae.datasets.memory_mapped(tmp_path / "x.npy")
    eager, compiled = both_errors(pyvae.PairError, lambda: recipes.gaussian((WIDTH,), 2, [4]), data)
    assert "within the support" in eager
    assert compiled == eager


def test_values_that_are_not_to_be_validated():
    """As Pyro's tutorial trains on grey values."""

    class Grey(ByHand):
        def model(self, x):
            with self.plate(x):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                logits = self.decode(z)
                pyro.sample("x", dist.Bernoulli(logits=logits, validate_args=False).to_event(1), obs=x)

    histories = [
        pyvae.fit(pair, torch.rand(40, WIDTH, generator=torch.Generator().manual_seed(0)), **arguments).history
        for compile in (False, True)
        for pair, arguments in [(seeded(Grey), {"batch_size": 8, "seed": 0, "compile": compile, "progress": False})]
    ]
    assert histories[0][-1] == pytest.approx(histories[1][-1], rel=1e-5)


def seeded(make):
    torch.manual_seed(0)
    return make()


@pytest.mark.parametrize("label", [-1, 3, 7])
def test_labels_out_of_range(label):
    y = torch.arange(64) % 3
    y[45] = label
    loader = DataLoader(TensorDataset(binary(), y), 8)
    for said in both_errors(pyvae.DataError, lambda: recipes.conditional((WIDTH,), 3, 2, [4]), loader):
        assert "expected [0, 2]" in said


def test_a_program_that_fails_midway():
    class Failing(ByHand):
        def encode(self, x):
            if len(x) == 5:
                raise ValueError("disk on fire")
            return super().encode(x)

    for said in both_errors(pyvae.PairError, Failing, torch.randn(29, WIDTH)):
        assert "Failing failed in epoch 1, batch" in said
        assert said.endswith("disk on fire")


def test_a_loader_that_makes_its_batches_itself(interpreted):
    sampler = BatchSampler(SequentialSampler(range(64)), 16, drop_last=True)
    pyvae.fit(ByHand(), DataLoader(TensorDataset(binary()), batch_sampler=sampler), compile=True, progress=False)
    assert len(interpreted) == 1


class AnyWidth(nn.Module):
    """Takes rows of any length and type."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1).expand(*z.shape, x.shape[-1]), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean(-1), 0.5))


@pytest.mark.parametrize(
    "second",
    [torch.randn(8, 7), torch.randn(5, 8).t()],
    ids=["width", "layout"],
)
def test_evaluation_of_batches_of_another_kind(monkeypatch, second):
    module = importlib.import_module("pyvae.evaluation.log_weights")
    loader = DataLoader([torch.randn(8, 5), second, torch.randn(8, 5)], batch_size=None)
    figures = []
    for threshold in (2**60, 1):
        monkeypatch.setattr(module, "_WORTH_COMPILING", threshold)
        figures.append(pyvae.elbo(AnyWidth(), loader, num_particles=4, seed=0).per_datapoint)
    torch.testing.assert_close(*figures, rtol=1e-5, atol=1e-5)


def test_evaluations_are_compiled(monkeypatch, interpreted):
    module = importlib.import_module("pyvae.evaluation.log_weights")
    monkeypatch.setattr(module, "_WORTH_COMPILING", 1)
    vae = recipes.gaussian((WIDTH,), 2, [4], likelihood=likelihoods.Normal)
    pyvae.log_likelihood(vae, binary(), num_particles=5)
    assert len(interpreted) == 1


def test_a_compiled_loss_can_be_pickled_after_use():
    loss_of, x = pyvae.compile(ByHand(), Trace_ELBO()), torch.randn(6, WIDTH)
    torch.manual_seed(0)
    expected = loss_of(x)
    again = pickle.loads(pickle.dumps(loss_of))
    torch.manual_seed(0)
    assert torch.equal(again(x), expected)
