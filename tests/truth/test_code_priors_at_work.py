"""Priors over codes in training, in pairs, as distributions; and what they refuse."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO
from torch import nn

import pyvae
from pyvae.distributions import Autoregressive
from pyvae.networks import CausalTransformer, PixelCNN
from pyvae.priors import AutoregressiveCodes, FactorizedCodes
from tests.truth.code_priors import CODES, GRID, grids


def stripes(count, size=4):
    """Grids of which every row, or every column, has one code of three."""
    lines = torch.randint(3, (count, size, 1)).expand(-1, -1, size)
    upright = torch.rand(count) < 0.5
    return torch.where(upright[:, None, None], lines.transpose(1, 2), lines), upright


class Codes(nn.Module):
    """k ~ P(k | y), observed."""

    def __init__(self, prior):
        super().__init__()
        self.prior = prior

    def model(self, k=None, *context, size=1):
        pyro.module("codes", self)
        with pyro.plate("data", size if k is None else len(k)):
            return pyro.sample("k", self.prior(*context), obs=k)

    def guide(self, k, *context):
        pass


@pytest.mark.parametrize(
    ("make", "rate"),
    [
        (lambda: PixelCNN((4, 4), 3, 16, 4, context_dim=2), 0.01),
        pytest.param(lambda: CausalTransformer((4, 4), 3, 32, context_dim=2), 5e-3, marks=pytest.mark.slow),
    ],
    ids=["PixelCNN", "CausalTransformer"],
)
def test_training_finds_the_stripes(make, rate):
    """log₂ 3⁴ = 6.3 bits a grid, given whether they are upright, against 25.4 of independent codes."""
    pair = Codes(AutoregressiveCodes(make()))
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": rate}), Trace_ELBO())
    for _ in range(150):
        k, upright = stripes(128)
        svi.step(k, torch.eye(2)[upright.long()])
    k, upright = stripes(500)
    bits = svi.evaluate_loss(k, torch.eye(2)[upright.long()]) / 500 / math.log(2)
    entropy = 4 * math.log2(3)
    assert entropy - 0.1 < bits < entropy + 1.5
    drawn = pair.model(None, torch.tensor([0.0, 1.0]), size=200)
    assert (drawn == drawn[:, :1]).all((1, 2)).float().mean() > 0.8


class Blurred(nn.Module):
    """x | k is normal around the codes of a 2 × 2 grid, k | y autoregressive; the guide is rough, for any y."""

    def __init__(self):
        super().__init__()
        self.prior = AutoregressiveCodes(PixelCNN((2, 2), 2, channels=4, layers=2, context_dim=2))
        self.scale = nn.Parameter(torch.tensor(1.5))

    def likelihood(self, k):
        return dist.Normal(k.to(self.scale), 0.7).to_event(2)

    def model(self, x, y):
        pyro.module("blurred", self)
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", self.prior(y))
            pyro.sample("x", self.likelihood(k), obs=x)

    def guide(self, x, y):
        pyro.module("blurred", self)
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(logits=torch.stack([-x, x], -1) * self.scale).to_event(2))


def test_a_pair_with_latent_codes_against_enumeration():
    pair = Blurred()
    x, y = torch.randn(5, 2, 2), torch.eye(2)[[0, 1, 1, 0, 1]]
    every = grids((2, 2), 2)[:, None]
    exact = (pair.prior(y).log_prob(every) + pair.likelihood(every).log_prob(x)).logsumexp(0)
    weights = pyvae.log_weights(pair, x, y, num_particles=4000)
    estimate = weights.logsumexp(0) - math.log(4000)
    error = (weights - estimate).exp().std(0) / 4000**0.5
    assert ((estimate - exact).abs() < 5 * error).all()
    assert (error < 0.05).all()


def test_particles_in_an_outer_plate():
    pair = Blurred()
    x, y = torch.randn(5, 2, 2), torch.eye(2)[[0, 1, 1, 0, 1]]
    figures = []
    for vectorized in (False, True):
        elbo = Trace_ELBO(num_particles=100, vectorize_particles=vectorized, max_plate_nesting=1)
        loss = elbo.differentiable_loss(pair.model, pair.guide, x, y)
        pair.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in pair.parameters())
        figures.append(loss.item())
    assert figures[0] == pytest.approx(figures[1], rel=0.05)


@pytest.mark.parametrize("parallel", [False, True])
def test_under_predictive_and_condition(parallel):
    pair = Codes(AutoregressiveCodes(PixelCNN(GRID, CODES, channels=4, layers=2, context_dim=2)))
    y = torch.eye(2)[[0, 1, 1, 0]]
    draws = Predictive(pair.model, num_samples=3, parallel=parallel)(None, y, size=4)["k"]
    assert draws.shape == (3, 4, *GRID)
    assert draws.dtype == torch.int64
    assert (draws[0] != draws[1]).any()
    k = draws[0]
    conditioned = pyro.poutine.condition(pair.model, {"k": k})
    trace = pyro.poutine.trace(conditioned).get_trace(None, y, size=4)
    assert torch.equal(trace.nodes["k"]["value"], k)
    torch.testing.assert_close(trace.log_prob_sum(), pair.prior(y).log_prob(k).sum())


def test_as_a_distribution():
    distribution = AutoregressiveCodes(PixelCNN(GRID, CODES, channels=4, layers=1, context_dim=2))(torch.zeros(4, 2))
    assert (distribution.batch_shape, distribution.event_shape, distribution.event_dim) == ((4,), GRID, 2)
    assert not distribution.has_rsample
    assert not distribution.has_enumerate_support
    assert distribution.support.is_discrete
    assert distribution.support.check(torch.tensor([[0, 2, 1]] * 3))
    assert not distribution.support.check(torch.tensor([[0, 3, 1]] * 3))
    assert distribution.expand([5, 4]).batch_shape == (5, 4)
    with pytest.raises(NotImplementedError):
        distribution.enumerate_support()


def test_codes_that_are_none_are_refused():
    distribution = AutoregressiveCodes(PixelCNN(GRID, CODES, channels=4, layers=1))().expand([4])
    codes = torch.zeros(4, *GRID, dtype=torch.long)
    for wrong in (-1, 3):
        with pytest.raises(pyvae.DataError, match=rf"codes lie in .*{wrong}.*expected \[0, 2\], for num_codes=3"):
            distribution.log_prob(codes.index_fill(0, torch.tensor([1]), wrong))
    with pytest.raises(pyvae.DataError, match=r"dtype torch.float32; expected integers in \[0, 2\]"):
        distribution.log_prob(codes.float())
    for wrong in (codes[..., :2], codes[0, 0], codes[:3]):
        with pytest.raises(pyvae.DataError, match=r"codes have shape .*expected \(\.\.\., 3, 3\).*batch shape \(4,\)"):
            distribution.log_prob(wrong)
    torch.testing.assert_close(distribution.log_prob(codes.int()), distribution.log_prob(codes))


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda n: Autoregressive(lambda k: k, 2, 3), "network is a function"),
        (lambda n: Autoregressive(n, (2, 0), 3), "context has shapes"),
        (lambda n: Autoregressive(nn.Identity(), (2, 0), 3), "event_shape is"),
        (lambda n: Autoregressive(n, GRID, 0), "num_codes is 0"),
        (lambda n: Autoregressive(n, GRID, 3, torch.zeros(5, 2)), "context is a Tensor; expected a tuple"),
        (lambda n: Autoregressive(n, GRID, 3, ()), r"context has shapes \[\]; expected 1 tensors"),
        (lambda n: Autoregressive(n, GRID, 3, (torch.zeros(()),)), r"event dimensions \[1\]"),
        (lambda n: Autoregressive(n, GRID, 3, (torch.zeros(5, 2),), torch.Size([4])), r"batch_shape is \(4,\)"),
        (lambda n: Autoregressive(n, GRID, 3, (torch.zeros(5, 2),)).expand([4]), r"batch_shape is \(4,\)"),
        (lambda n: AutoregressiveCodes(n)(torch.zeros(5, 2), torch.zeros(5, 2)), "context has shapes"),
        (lambda n: AutoregressiveCodes(n)(torch.zeros(5, 3)).sample(), r"got \(5, 3\); expected \(\.\.\., 5, 2\)"),
        (lambda n: AutoregressiveCodes(nn.Linear(2, 2)), "a Linear without shape and num_codes"),
        (lambda n: AutoregressiveCodes("n"), "network is a str"),
        (lambda n: FactorizedCodes((0,), 3), "shape is"),
        (lambda n: FactorizedCodes(GRID, 2.0), "num_codes is 2.0"),
    ],
)
def test_wrong_arguments_are_refused(construct, message):
    with pytest.raises(pyvae.ArgumentError, match=message):
        construct(PixelCNN(GRID, CODES, channels=4, layers=1, context_dim=2))


def test_other_outputs_than_logits_are_refused():
    codes = torch.zeros(2, 4, dtype=torch.long)
    for output in (torch.zeros(2, 4, 2), torch.zeros(4, 3), None):
        network = nn.Module()
        network.forward = lambda k, output=output: output
        with pytest.raises(
            pyvae.PairError, match=r"Module gave .*shape \(2, 4\); expected logits of shape \(2, 4, 3\)"
        ):
            Autoregressive(network, 4, 3).log_prob(codes)
        with pytest.raises(pyvae.PairError, match="Module gave"):
            Autoregressive(network, 4, 3).sample((2,))


def test_upper_codes_as_context_of_a_network_by_hand():
    """A grid of integers is a context as any other; the network embeds it."""

    class Below(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.pixels = nn.Embedding(5, 3), PixelCNN((4, 4), 2, 4, 2, context_channels=3)

        def forward(self, codes, upper):
            features = self.embedding(upper).movedim(-1, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
            return self.pixels(codes, features)

    upper = torch.randint(5, (6, 2, 2))
    distribution = Autoregressive(Below(), (4, 4), 2, (upper,), context_event_dims=[2])
    assert distribution.batch_shape == (6,)
    draw = distribution.sample((2,))
    assert draw.shape == (2, 6, 4, 4)
    assert distribution.log_prob(draw).shape == (2, 6)
    torch.testing.assert_close(distribution.expand([2, 6]).log_prob(draw), distribution.log_prob(draw))
