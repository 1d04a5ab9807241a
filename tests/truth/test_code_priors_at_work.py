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

GRID, CODES, CLASSES = (3, 3), 3, 2


def grids(shape, codes):
    """Every grid, (codes ** places,) + shape."""
    return torch.cartesian_prod(*[torch.arange(codes)] * math.prod(shape)).reshape(-1, *shape)


def perturbed(network, seed=0):
    """With weights so large that what depends on something shows it, in float64, so that it shows it exactly."""
    network.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.double))
    return network


def pixels(shape=GRID, codes=CODES, **arguments):
    return perturbed(PixelCNN(shape, codes, **{"channels": 6, "layers": 3} | arguments))


def transformer(shape=GRID, codes=CODES, **arguments):
    return perturbed(CausalTransformer(shape, codes, **{"dim": 8, "heads": 2} | arguments))


#: networks of every kind, each with one context for two rows
NETWORKS = {
    "PixelCNN": lambda: (pixels(), ()),
    "PixelCNN of kernel 5": lambda: (pixels((4, 5), kernel_size=5), ()),
    "PixelCNN of a class": lambda: (pixels(context_dim=CLASSES), (torch.eye(2).double(),)),
    "PixelCNN of a level above": lambda: (pixels(context_channels=2), (torch.randn(2, 2, *GRID).double(),)),
    "PixelCNN of both": lambda: (
        pixels((3, 4), context_dim=2, context_channels=1),
        (torch.eye(2).double(), torch.randn(2, 1, 3, 4).double()),
    ),
    "PixelCNN of a row": lambda: (pixels((9,), kernel_size=5), ()),
    "PixelCNN of a row, of both": lambda: (
        pixels((11,), layers=5, context_dim=2, context_channels=3),
        (torch.eye(2).double(), torch.randn(2, 3, 11).double()),
    ),
    "PixelCNN of a column": lambda: (pixels((7, 1), layers=5), ()),
    "CausalTransformer": lambda: (transformer(), ()),
    "CausalTransformer of a class": lambda: (transformer(context_dim=CLASSES), (torch.eye(2).double(),)),
    "CausalTransformer of a row": lambda: (transformer((10,)), ()),
    "CausalTransformer of a block": lambda: (transformer((2, 2, 3), layers=3), ()),
}
of_each_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())


class Plain(nn.Module):
    """A network without a sampler: its grids are drawn by whole calls."""

    def __init__(self, network):
        super().__init__()
        self.network, self.context_event_dims = network, network.context_event_dims

    def forward(self, *inputs):
        return self.network(*inputs)


@pytest.mark.parametrize(
    "make",
    [
        lambda: (PixelCNN(GRID, CODES, channels=6, layers=2), ()),
        lambda: (pixels(context_dim=CLASSES), (torch.eye(CLASSES).double(),)),
        lambda: (pixels(context_channels=2, kernel_size=5), (torch.randn(2, 2, *GRID).double(),)),
        lambda: (pixels(context_dim=2, context_channels=1), (torch.eye(2).double(), torch.randn(1, *GRID).double())),
        lambda: (CausalTransformer(GRID, CODES, dim=8, heads=2), ()),
        lambda: (transformer(context_dim=CLASSES), (torch.eye(CLASSES).double(),)),
        lambda: (pixels((9,)), ()),
    ],
    ids=["PixelCNN", "of a class", "of a level above", "of both", "CausalTransformer", "of a class, too", "of a row"],
)
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
        (lambda: CausalTransformer((4, 4), 3, 32, context_dim=2), 5e-3),
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
        elbo = Trace_ELBO(num_particles=300, vectorize_particles=vectorized, max_plate_nesting=1)
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
