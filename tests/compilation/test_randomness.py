"""Draws are fresh at each call, of the right distribution, and from torch's stream."""

import math

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO

import pyvae
from tests.compilation.comparing import eager_results
from tests.compilation.pairs import WIDTH, ByHand, Classes, Layers

pytestmark = pytest.mark.usefixtures("interpreted")
CALLS = 1000


def many(loss, calls=CALLS, seed=1):
    pyro.set_rng_seed(seed)
    return torch.tensor([float(torch.as_tensor(loss()).detach()) for _ in range(calls)], dtype=torch.float64)


def test_a_thousand_losses_differ_and_are_distributed_as_the_eager_ones():
    pair, x = ByHand(), torch.randn(6, WIDTH)
    compiled = pyvae.compile(pair, Trace_ELBO())
    losses = many(lambda: compiled(x))
    assert len(losses.unique()) == CALLS
    eager = many(lambda: Trace_ELBO().loss(pair.model, pair.guide, x), seed=2)
    error = math.sqrt((losses.var() + eager.var()) / CALLS)
    assert abs(losses.mean() - eager.mean()) < 4 * error
    # the logarithm of a sample variance has variance (kurtosis - 1) / n
    kurtosis = ((eager - eager.mean()) / eager.std()).pow(4).mean()
    assert abs((losses.var() / eager.var()).log()) < 4 * math.sqrt(2 * (kurtosis - 1) / CALLS)


@pytest.mark.parametrize("make", [ByHand, Layers, Classes])
def test_the_stream_is_the_eager_one(make):
    """Of latents, dropout and discrete draws: call after call, not only after the seed was set."""
    pair, x = make(), torch.randn(6, WIDTH)
    compiled = pyvae.compile(pair, Trace_ELBO())
    compiled(x)  # traces: what that draws must not show
    mine = many(lambda: compiled(x), 10)
    theirs = many(lambda: Trace_ELBO(max_plate_nesting=1).loss(pair.model, pair.guide, x), 10)
    torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=0)


def test_the_first_call_draws_as_any_other():
    """Inspection and recording leave the stream where it was."""
    pair, x = ByHand(), torch.randn(6, WIDTH)
    pyro.set_rng_seed(0)
    first = pyvae.compile(pair, Trace_ELBO())(x)
    loss, _ = eager_results(pair, Trace_ELBO(max_plate_nesting=1), x)
    assert float(first.detach()) == pytest.approx(float(loss), rel=1e-6)


def test_rows_draw_apart():
    """Equal rows of one batch: their draws are not copies of one another."""
    pair = ByHand()
    one, many_rows = torch.ones(1, WIDTH), torch.ones(50, WIDTH)
    compiled = pyvae.compile(pair, Trace_ELBO())
    single, joint = many(lambda: compiled(one)), many(lambda: compiled(many_rows))
    assert 35 < joint.var() / single.var() < 70  # copies would make it 2,500-fold
