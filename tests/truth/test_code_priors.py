"""Priors over codes: enumeration, causality, sampling with a cache."""

import math

import pyro
import pytest
import torch
from scipy.stats import chisquare
from torch import nn
from torch.func import functional_call

from pyvae.core.torch_internals import trace_graph
from pyvae.distributions import Autoregressive
from pyvae.networks import CausalTransformer, PixelCNN
from pyvae.priors import AutoregressiveCodes, FactorizedCodes
from tests.truth.code_priors import CLASSES, CODES, GRID, Plain, grids, of_each_network, perturbed, pixels, transformer


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
def test_probabilities_of_all_grids_sum_to_one(make):
    network, context = make()
    distribution = AutoregressiveCodes(network)(*context)
    every = grids(network.shape, CODES)
    assert len(every) == 19_683
    for chunk in (every[:, None] if context else every,):
        with torch.no_grad():
            total = distribution.log_prob(chunk).exp().sum(0)
        assert total.shape == distribution.batch_shape == ((2,) if context else ())
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-5)


def test_independent_codes_sum_to_one_and_start_uniform():
    every = grids(GRID, CODES)
    for uniform in (False, True):
        prior = FactorizedCodes(GRID, CODES, uniform=uniform)
        torch.testing.assert_close(prior().log_prob(every), torch.full((len(every),), -9 * math.log(3)))
        assert len(list(prior.parameters())) == 1 - uniform
    learned = perturbed(FactorizedCodes(GRID, CODES))
    assert learned(torch.zeros(5, 2)).batch_shape == ()
    probabilities = learned().log_prob(every).exp()
    torch.testing.assert_close(probabilities.sum().item(), 1.0, rtol=0, atol=1e-9)
    assert probabilities.max() > 5 * probabilities.min()
    first = probabilities.reshape(3, -1).sum(1)
    torch.testing.assert_close(first, learned.logits[0, 0].softmax(-1))


def dependence(network, context):
    """D[i, j]: the largest change of the logits at place i when the code at place j changes, in any of 16 grids."""
    places = network.shape.numel()
    codes = torch.randint(network.num_codes, (16, 1, *network.shape))
    context = [c[0] for c in context]
    changed = codes.expand(-1, places, *network.shape).flatten(2).clone()
    changed[:, range(places), range(places)] = (codes.flatten(1) + 1) % network.num_codes
    with torch.no_grad():
        difference = network(changed.unflatten(2, network.shape), *context) - network(codes, *context)
    return difference.abs().flatten(2, -2).amax((0, -1)).T


@of_each_network
def test_each_place_depends_on_all_before_and_on_none_after(make):
    network, context = make()
    changes = dependence(network, context)
    before = torch.ones_like(changes).tril(-1).bool()
    assert (changes[~before] == 0).all()
    assert (changes[before] > 1e-9).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: PixelCNN((5, 7), 4, channels=8, layers=6),
        lambda: PixelCNN((6, 5), 4, channels=8, layers=3, kernel_size=5),
        lambda: PixelCNN((40,), 4, channels=8, layers=5),
    ],
    ids=["(5, 7)", "(6, 5) of kernel 5", "(40,)"],
)
def test_no_place_is_blind_in_larger_grids(make):
    """The least number of layers with which the last column's reach spans the first's, as the docstring counts it."""
    network = perturbed(make())
    changes = dependence(network, ())
    before = torch.ones_like(changes).tril(-1).bool()
    assert (changes[~before] == 0).all()
    assert (changes[before] > 0).all()


def test_reach_is_as_documented():
    """⌊s/2⌋ L + 1 places to the left and above; 127 of a row for s = 3 and six layers."""
    for size, layers in ((3, 2), (5, 1), (7, 2)):
        reach = size // 2 * layers + 1
        changes = dependence(pixels((1 + reach + 2, 1 + reach + 2), kernel_size=size, layers=layers), ())
        width = reach + 3
        last = changes[-1].reshape(width, width) > 0
        assert last[-1].nonzero().flatten().tolist() == list(range(2, width - 1))
        assert last[:, -1].nonzero().flatten().tolist() == list(range(2, width - 1))
    changes = dependence(PixelCNN((200,), 2, channels=8, kernel_size=3, layers=6).double(), ())
    assert changes[-1].nonzero().flatten().tolist()[0] == 199 - 127


def test_gradients_tell_the_same_of_a_transformer_and_a_pixel_cnn():
    """The logits at a place have no gradient with respect to the embeddings of itself and later ones."""
    for network in (pixels(codes=9), transformer(codes=9)):
        codes = torch.arange(9).reshape(GRID)  # each place has a row of the embedding of its own
        embedding = network.grid.network.embedding.weight
        for place, logits in enumerate(network(codes).flatten(0, 1)):
            gradient = torch.autograd.grad(logits.sin().sum(), embedding, retain_graph=True, allow_unused=True)[0]
            assert gradient.abs().sum(1).gt(0).tolist() == [other < place for other in range(9)]


@of_each_network
@pytest.mark.parametrize("sample_shape", [(), (3,), (2, 2)])
def test_the_cache_draws_the_same_grids(make, sample_shape):
    network, context = make()
    draws = []
    for own in (network, Plain(network)):
        torch.manual_seed(3)
        distribution = Autoregressive(own, network.shape, CODES, context).expand([2])
        draws.append((distribution.sample(sample_shape), torch.rand(2)))
    (cached, after), (naive, after_naive) = draws
    assert cached.dtype == torch.int64
    assert cached.shape == (*sample_shape, 2, *network.shape)
    assert torch.equal(cached, naive)
    assert torch.equal(after, after_naive)
    assert not torch.equal(
        cached, Autoregressive(network, network.shape, CODES, context).expand([2]).sample(sample_shape)
    )


@of_each_network
def test_the_generator_yields_the_logits_of_the_whole_grid(make):
    network, context = make()
    codes = torch.randint(CODES, (2, *network.shape))
    with torch.no_grad():
        expected = network(codes, *context).flatten(1, -2)
        sampler, sent = network.sampler(2, *context), None
        for place in range(network.shape.numel()):
            torch.testing.assert_close(sampler.send(sent), expected[:, place], rtol=1e-10, atol=1e-10)
            sent = codes.flatten(1)[:, place]


@of_each_network
def test_sampling_leaves_nothing_behind(make):
    network, context = make()

    def contents():
        return {n: {k: id(v) for k, v in m.__dict__.items()} for n, m in network.named_modules()}

    def values():
        return [t.clone() for t in network.state_dict().values()]

    before, tensors = contents(), values()
    draw = AutoregressiveCodes(network)(*context).sample((2,))
    assert contents() == before
    assert all(torch.equal(a, b) for a, b in zip(tensors, values(), strict=True))
    assert not draw.requires_grad


@pytest.mark.parametrize(
    "make",
    [
        lambda **a: pixels((2, 2), 2, **a),
        lambda **a: transformer((2, 2), 2, **a),
        lambda **a: pixels((4,), 2, **a),
        lambda **a: Plain(pixels((2, 2), 2, **a)),
    ],
    ids=["PixelCNN", "CausalTransformer", "PixelCNN of a row", "without a sampler"],
)
@pytest.mark.parametrize("classes", [0, 2])
def test_draws_have_their_probabilities(make, classes):
    network, context = make(context_dim=classes), (torch.eye(2).double(),) if classes else ()
    shape = (4,) if network.__dict__.get("shape") == (4,) else (2, 2)
    distribution = Autoregressive(network, shape, 2, context)
    draws = distribution.sample((10_000,)).reshape(10_000, -1, 4)
    every = grids(shape, 2)[:, None] if classes else grids(shape, 2)
    probabilities = distribution.log_prob(every).exp().detach().reshape(16, -1)
    names = draws @ torch.tensor([8, 4, 2, 1])
    assert probabilities.max() > 2 * probabilities.min()
    for row, expected in enumerate(probabilities.T):
        counts = names[:, row].bincount(minlength=16)
        assert chisquare(counts.numpy(), (10_000 * expected / expected.sum()).numpy()).pvalue > 1e-4


@of_each_network
def test_leading_dimensions_are_a_batch(make):
    network, context = make()
    prior = AutoregressiveCodes(network)
    codes = torch.randint(CODES, (4, 3, 2, *network.shape))
    together = prior(*context).expand([3, 2]).log_prob(codes)
    assert together.shape == (4, 3, 2)
    for i in range(2):
        alone = prior(*(c[i] for c in context))
        assert alone.batch_shape == ()
        torch.testing.assert_close(together[1, 2, i], alone.log_prob(codes[1, 2, i]))
    # one grid under every context, and contexts with dimensions that the codes lack
    wide = [c[:, None] for c in context]
    assert prior(*wide).log_prob(codes[0, 0]).shape == ((2, 2) if context else (2,))
    assert prior(*wide).sample((5,)).shape == (5, *((2, 1) if context else ()), *network.shape)
    assert prior(*context).sample((0,)).shape[0] == 0


@of_each_network
def test_context_matters_to_every_code(make):
    network, context = make()
    codes = torch.randint(CODES, network.shape)
    for index in range(len(context)):
        changed = [c.clone() for c in context]
        changed[index][0] += 1
        difference = (network(codes, *changed) - network(codes, *context)).abs().flatten(1, -2).amax(-1)
        assert (difference[0] > 1e-9).all()
        assert (difference[1] == 0).all()


def test_a_level_above_is_seen_at_its_place_and_before():
    """What the context tells of a place comes to that place and later rows, and to no row before it."""
    network = pixels((3, 3), context_channels=1)
    codes, above = torch.zeros(3, 3, dtype=torch.long), torch.zeros(9, 1, 3, 3).double()
    above.flatten(1)[range(9), range(9)] = 1
    difference = (network(codes, above) - network(codes, torch.zeros(1, 3, 3).double())).abs().amax(-1).flatten(1).T
    assert (difference.diagonal() > 1e-9).all()
    rows = torch.arange(9) // 3
    assert (difference[rows[:, None] < rows] == 0).all()
    assert (difference.tril(-1)[rows[:, None] > rows] > 0).all()


def test_half_precision_sums_in_full():
    network = PixelCNN((8, 8), 4, channels=8, layers=2).bfloat16()
    distribution = AutoregressiveCodes(network)()
    assert distribution.log_prob(distribution.sample()).dtype == torch.float32


@of_each_network
def test_log_prob_and_its_gradients_are_traced(make):
    network, context = make()
    parameters = dict(network.named_parameters())

    class Called(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, codes, *context):
            return AutoregressiveCodes(self.network)(*context).log_prob(codes)

    called = Called()

    def gradients(values, codes, *context):
        loss = functional_call(called, {f"network.{n}": v for n, v in values.items()}, (codes, *context)).sum()
        return [loss, *torch.autograd.grad(loss, list(values.values()), allow_unused=True, materialize_grads=True)]

    with pyro.validation_enabled(False):
        inputs = (torch.randint(CODES, (2, *network.shape)), *context)
        graph = trace_graph(gradients, parameters, *inputs)
        again = (torch.randint(CODES, (2, *network.shape)), *context)
        for traced, eager in zip(graph(parameters, *again), gradients(parameters, *again), strict=True):
            torch.testing.assert_close(traced, eager)
