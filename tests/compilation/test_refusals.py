"""Programs that no recording repeats: refused in a line that says why, left as they were, and trained eagerly."""

import random
import warnings

import numpy as np
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

import pyvae
from tests.compilation.comparing import eager_results
from tests.compilation.pairs import WIDTH, ByHand
from tests.compilation.snapshots import assert_unchanged, snapshot

pytestmark = pytest.mark.usefixtures("interpreted")


class Awkward(ByHand):
    """A pair whose guide does something with x first."""

    def __init__(self, act):
        super().__init__()
        self.act, self.count, self.last, self.seen, self.cache, self.names = act, 0, None, [], {}, set()

    def encode(self, x):
        factor = self.act(self, x)
        return super().encode(x) * (1.0 if factor is None else factor)


def _store(pair, x):
    pair.last = x.mean()


def _count(pair, x):
    pair.count += 1


def _add_name(pair, x):
    pair.names.add(len(pair.names))


#: by name: what the guide does, which changes no row by the others, and a word of the reason that the refusal must give
ACTS = {
    "item": (lambda p, x: 1 + 0 * x.mean().item(), "item"),
    "tolist": (lambda p, x: 1 + 0 * x.mean().tolist(), "item"),
    "if": (lambda p, x: 1.0 if x.mean() > 0 else 1.0 + 0, "value"),
    "float": (lambda p, x: 1 + 0 * float(x.mean()), "value"),
    "int": (lambda p, x: 1 + 0 * int(x.sum()), "value"),
    "assert": (lambda p, x: _assert_small(x), "value"),
    "parameter": (lambda p, x: float(p.encoder.bias[0]), "value"),
    "numpy": (lambda p, x: 1 + 0 * float(x.numpy().mean()), "value"),
    "python random": (lambda p, x: random.random(), "random"),
    "numpy random": (lambda p, x: np.random.rand(), "random"),
    "counts calls": (_count, "'count'"),
    "stores a tensor": (_store, "'last'"),
    "appends": (lambda p, x: p.seen.append(len(x)), "'seen'"),
    "appends a tensor": (lambda p, x: p.seen.append(x.mean()), "'seen'"),
    "fills a dict": (lambda p, x: p.cache.update({len(p.cache): 1}), "'cache'"),
    "fills a set": (_add_name, "'names'"),
}


def _assert_small(x):
    assert (x.abs() < 100).all()


CASES = [pytest.param(act, word, id=name) for name, (act, word) in ACTS.items()]


@pytest.mark.parametrize(("act", "word"), CASES)
def test_a_line_says_why(act, word):
    with pytest.raises(pyvae.TraceError, match=rf"Awkward cannot be compiled: .*({word})") as caught:
        pyvae.compile(Awkward(act))(torch.randn(6, WIDTH))
    assert "\n" not in str(caught.value)
    assert "Use the objective itself" in str(caught.value)


@pytest.mark.parametrize(("act", "word"), CASES)
def test_the_pair_is_left_as_it_was(act, word):
    pair, x = Awkward(act), torch.randn(6, WIDTH)
    before = snapshot(pair)
    with pytest.raises(pyvae.TraceError):
        pyvae.compile(pair)(x)
    assert_unchanged(pair, before)
    loss, gradients = eager_results(pair, Trace_ELBO(), x)
    assert loss.isfinite()
    assert all(g is not None for g in gradients.values())


@pytest.mark.parametrize(("act", "word"), CASES)
def test_training_goes_on_eagerly(act, word):
    """With the numbers, and the pair's own state, of a run that was never to be compiled; and one warning."""
    x, results = torch.randn(40, WIDTH), []
    for compile in (False, True):
        torch.manual_seed(0)
        pair = Awkward(act)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            result = pyvae.fit(pair, x, epochs=2, batch_size=8, seed=0, compile=compile, progress=False)
        said = [str(w.message) for w in caught if "without compilation" in str(w.message)]
        assert len(said) == compile
        results.append(
            (result.history, [p.detach() for p in pair.parameters()], pair.count, len(pair.seen), pair.cache)
        )
    (history, weights, *state), (other_history, other_weights, *other_state) = results
    assert history == other_history
    assert all(map(torch.equal, weights, other_weights))
    assert state == other_state


@pytest.mark.usefixtures("interpreted")
def test_draws_of_numpy_are_seen_wherever_its_stream_stands():
    """Most draws only move a position in numbers that were made before."""
    np.random.rand()
    with pytest.raises(pyvae.TraceError, match="random"):
        pyvae.compile(Awkward(lambda p, x: np.random.rand()))(torch.randn(6, WIDTH))


def test_batch_norm_that_averages_over_all_batches_is_refused():
    """It divides by the number of batches, which it takes out of a buffer."""
    pair = ByHand()
    pair.encoder = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH, momentum=None))
    with pytest.raises(pyvae.TraceError):
        pyvae.compile(pair)(torch.randn(6, WIDTH))


def test_a_compiler_that_fails_is_reported_and_done_without(monkeypatch):
    def fail(*args):
        raise RuntimeError("no C++ compiler found\nwith a long trace")

    monkeypatch.setattr(torch._inductor, "compile", fail)
    with pytest.raises(
        pyvae.TraceError, match="the compiler failed: RuntimeError: no C\\+\\+ compiler found"
    ) as caught:
        pyvae.compile(ByHand())(torch.randn(6, WIDTH))
    assert "\n" not in str(caught.value)
    with pytest.warns(UserWarning, match="ByHand is trained without compilation: the compiler failed"):
        result = pyvae.fit(ByHand(), torch.randn(40, WIDTH), epochs=1, batch_size=8, compile=True, progress=False)
    assert len(result.history) == 1


def test_a_pair_that_fails_by_itself_is_no_matter_of_compilation():
    class Broken(ByHand):
        def encode(self, x):
            return x @ torch.ones(17, 3)

    with pytest.raises(pyvae.PairError, match="guide failed"):
        pyvae.compile(Broken())(torch.randn(6, WIDTH))
