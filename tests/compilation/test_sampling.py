"""Compiled draws are those of Pyro's Predictive, on the same random stream."""

import pytest
import torch
from pyro.infer import Predictive

import pyvae
from pyvae.compilation import CompiledPredictive
from pyvae.errors import ArgumentError, TraceError
from tests.compilation.pairs import WIDTH, ByHand, vae

pytestmark = pytest.mark.usefixtures("interpreted")


def compare(pair, *args, posterior=False, sites=(), **kwargs):
    """Both ways, twice, so that a graph that keeps its first draws shows."""
    pair.eval()
    compiled = CompiledPredictive(pair, 4, posterior=posterior, return_sites=sites)
    eager = Predictive(pair.model, {}, pair.guide if posterior else None, 4, sites, parallel=True)
    draws = []
    for way in (compiled, eager):
        torch.manual_seed(7)
        with torch.no_grad():
            draws.append([way(*args, **kwargs) for _ in range(2)])
    for ours, theirs in zip(*draws, strict=True):
        assert ours.keys() == theirs.keys()
        for name in theirs:
            assert ours[name].shape == theirs[name].shape
            assert torch.allclose(ours[name], theirs[name], atol=1e-6), name
    first, second = draws[0]
    assert any(not torch.equal(first[name], second[name]) for name in first)
    return draws[0][0]


def test_draws_from_the_prior():
    draws = compare(vae(), size=5)
    assert draws["x"].shape == (4, 5, WIDTH)


def test_draws_given_data():
    x = torch.rand(6, WIDTH).round()
    compare(vae(), x, posterior=True, sites=["z", "x"])


def test_parameters_are_read_anew():
    pair = vae().eval()
    compiled = CompiledPredictive(pair, 2, return_sites=["x"])
    eager = Predictive(pair.model, {}, None, 2, ["x"], parallel=True)
    draws = []
    for value in (0.1, 0.7):
        with torch.no_grad():
            for parameter in pair.parameters():
                parameter.fill_(value)
            for way in (compiled, eager):
                torch.manual_seed(1)
                draws.append(way(size=50)["x"])
    first, first_expected, second, second_expected = draws
    assert torch.allclose(first, first_expected)
    assert torch.allclose(second, second_expected)
    assert not torch.allclose(first, second)


def test_another_size_is_traced_anew(interpreted):
    draw = CompiledPredictive(vae().eval(), 2)
    assert [draw(size=n)["x"].shape[1] for n in (3, 4, 3)] == [3, 4, 3]
    assert len(interpreted) == 2


def test_a_pair_that_cannot_be_traced():
    class Branching(ByHand):
        def model(self, x):
            if x.sum() > 0:
                return super().model(x)

    with pytest.raises(TraceError, match=r"Branching cannot be compiled.*Predictive"):
        CompiledPredictive(Branching())(torch.randn(3, WIDTH))


def test_no_draws():
    with pytest.raises(ArgumentError, match="num_samples"):
        CompiledPredictive(pyvae.recipes.gaussian(shape=(5,)), 0)
