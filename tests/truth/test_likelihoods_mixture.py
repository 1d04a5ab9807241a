"""Mixtures of discretized logistic distributions: against scipy, by enumeration, by draws, and at extremes."""

import math

import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import logistic
from torch import nn

import pyvae
from pyvae import likelihoods
from pyvae.distributions import DiscretizedLogisticMixture


def random_mixture(event_shape, components, levels, batch=(), spread=0.3, coupled=True):
    """One with random parameters in double precision."""
    channels, *positions = event_shape if len(event_shape) > 1 else (1, *event_shape)
    logits = torch.randn(*batch, components, *positions).double()
    loc = torch.rand(*batch, components, channels, *positions).double()
    scale = spread * torch.rand(*batch, components, channels, *positions).double() + 0.02
    coupling = torch.randn(*batch, components, channels * (channels - 1) // 2, *positions).double()
    return DiscretizedLogisticMixture(logits, loc, scale, event_shape, coupling if coupled else None, levels)


def every_image(shape, levels):
    grid = torch.arange(levels).double() / (levels - 1)
    return torch.cartesian_prod(*[grid] * math.prod(shape)).reshape(-1, *shape)


def written_out(p, x):
    """log P(x) of one image, loop by loop, with scipy's distribution function."""
    total, half = 0.0, 0.5 / (p.levels - 1)
    channels, positions = x.shape[0], range(x[0].numel())
    for i in positions:
        terms = []
        weights = p.logits.flatten(1)[:, i].log_softmax(0)
        for k in range(len(weights)):
            term = weights[k].item()
            for c in range(channels):
                centre = p.loc.flatten(2)[k, c, i].item()
                for d in range(c):
                    centre += p.coupling.flatten(2)[k, c * (c - 1) // 2 + d, i].item() * (
                        x[d].flatten()[i].item() - 0.5
                    )
                scale, value = p.scale.flatten(2)[k, c, i].item(), x[c].flatten()[i].item()
                low = -math.inf if value == 0 else (value - half - centre) / scale
                high = math.inf if value == 1 else (value + half - centre) / scale
                upper = low + high > 0  # in whose tail scipy keeps its digits
                mass = logistic.sf(low) - logistic.sf(high) if upper else logistic.cdf(high) - logistic.cdf(low)
                term += math.log(mass)
            terms.append(term)
        total += logsumexp(terms)
    return total


@pytest.mark.parametrize("event_shape", [(1, 2), (2, 3), (3, 2, 2), (4, 1)])
@pytest.mark.parametrize("levels", [2, 5, 256])
def test_probabilities_against_scipy(event_shape, levels):
    p = random_mixture(event_shape, 3, levels)
    x = torch.randint(levels, (6, *event_shape)).double() / (levels - 1)
    x[0], x[1] = 0.0, 1.0
    expected = torch.tensor([written_out(p, image) for image in x]).double()
    torch.testing.assert_close(p.log_prob(x), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("event_shape", "levels"), [((3, 1), 4), ((3, 1, 1), 3), ((1, 3), 5), ((4,), 4), ((2, 2), 3), ((1, 1), 256)]
)
@pytest.mark.parametrize("spread", [0.0, 0.3, 30.0])
def test_probabilities_sum_to_one(event_shape, levels, spread):
    p = random_mixture(event_shape, 3, levels, spread=spread)
    x = every_image(event_shape, levels)
    assert p.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-5)
    single = (v.float() for v in (p.logits, p.loc, p.scale))
    p = DiscretizedLogisticMixture(*single, event_shape, p.coupling.float(), levels)
    assert p.log_prob(x.float()).exp().sum().item() == pytest.approx(1, abs=5e-5)


def test_the_elements_of_vectors_are_independent():
    p = random_mixture((3,), 2, 4)
    each = p.log_prob(torch.full((3,), 1 / 3).double())
    alone = [
        DiscretizedLogisticMixture(p.logits[:, i, None], p.loc[..., i, None], p.scale[..., i, None], 1, levels=4)
        for i in range(3)
    ]
    torch.testing.assert_close(each, sum(q.log_prob(torch.tensor([1 / 3]).double()) for q in alone))


@pytest.mark.parametrize(("event_shape", "levels"), [((3, 1), 4), ((2, 1, 2), 3), ((2,), 6)])
def test_draws_have_their_probabilities_and_the_mean(event_shape, levels):
    p = random_mixture(event_shape, 3, levels, batch=(2,))
    draws, count = p.sample([40_000]), 40_000
    places = (draws * (levels - 1)).round()
    torch.testing.assert_close(draws, places / (levels - 1), rtol=0, atol=1e-12)
    images = every_image(event_shape, levels)
    digits = levels ** torch.arange(math.prod(event_shape)).flip(0)
    for row in range(2):
        frequencies = (places[:, row].flatten(1).long() @ digits).bincount(minlength=len(images)) / count
        q = p.log_prob(images[:, None].expand(-1, 2, *event_shape))[:, row].exp()
        assert ((frequencies - q).abs() < 5 * (q * (1 - q) / count).sqrt() + 1e-4).all()
    # the property counts on the centres of cells, and on means where channels depend on each other
    assert (draws.mean(0) - p.mean).abs().max() < 0.5 / (levels - 1)


def test_the_mean_is_exact_up_to_the_grid():
    p = random_mixture((1, 1), 4, 64, batch=(20,), spread=0.1)
    x = torch.arange(64).double().reshape(64, 1, 1, 1) / 63
    expected = (p.log_prob(x).exp() * x[..., 0, 0]).sum(0)
    torch.testing.assert_close(p.mean[:, 0, 0], expected, rtol=0, atol=1e-3)


def test_gradients_by_finite_differences():
    p = random_mixture((3, 2), 2, 5, batch=(4,))
    x = torch.randint(5, (4, 3, 2)).double() / 4
    parameters = [v.clone().requires_grad_() for v in (p.logits, p.loc, p.scale, p.coupling)]

    def log_prob(logits, loc, scale, coupling):
        return DiscretizedLogisticMixture(logits, loc, scale, (3, 2), coupling, 5).log_prob(x)

    assert torch.autograd.gradcheck(log_prob, parameters)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 256])
@pytest.mark.parametrize("log_scale", [-1000.0, -30.0, -7.0, 0.0, 10.0, 40.0])
def test_extreme_outputs_have_finite_probabilities_and_gradients(dtype, levels, log_scale):
    """Tails, slivers and cells of nearly all the mass: f may give what it will."""
    extremes = torch.tensor([-1e4, -10.0, -1.0, 0.0, 0.1234567, 1.0, 10.0, 1e4], dtype=dtype)
    loc = extremes.reshape(8, 1, 1).expand(8, 3, 2)
    parts = (extremes.reshape(8, 1, 1).expand(8, 1, 2), loc, torch.full_like(loc, log_scale), loc)
    output = torch.cat([part.reshape(-1, 2) for part in parts]).requires_grad_()
    likelihood = likelihoods.DiscretizedLogisticMixture(nn.Identity(), (3, 2), num_components=8, levels=levels)
    x = (torch.rand(50, 3, 2, dtype=dtype) * (levels - 1)).round() / (levels - 1)
    p = likelihood(output.expand(50, *output.shape))
    log_prob = p.log_prob(x)
    assert log_prob.isfinite().all()
    assert (log_prob <= 1e-5).all()
    log_prob.sum().backward()
    assert output.grad.isfinite().all()
    assert p.mean.isfinite().all()
    assert ((p.sample() >= 0) & (p.sample() <= 1)).all()


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_logarithms_keep_their_digits_in_the_tails(value):
    """Far from the mean, the mass of a cell is e^{−m} times a constant, and its logarithm a line."""
    for loc, dtype in ((-20.0, torch.float32), (20.0, torch.float32), (-500.0, torch.float64)):
        loc = torch.full((1, 1, 1), loc, dtype=dtype)
        p = DiscretizedLogisticMixture(torch.zeros(1, 1, dtype=dtype), loc, torch.full_like(loc, 0.1), 1, levels=256)
        low, high = ((value + side / 255 - loc.item()) / 0.1 for side in (-0.5, 0.5))
        far, near = (-low, -high) if loc < 0 else (high, low)  # logs of the two tails' masses
        inside = far + math.log(-math.expm1(near - far))
        open_edge = {0.0: high if loc > 0 else inside, 1.0: -low if loc < 0 else inside}
        edge = 0.0 if (value == 0.0 and loc < 0) or (value == 1.0 and loc > 0) else open_edge.get(value, inside)
        assert p.log_prob(torch.tensor([value], dtype=dtype)).item() == pytest.approx(edge, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("event_shape", [5, (1, 4), (3, 2, 2), (4, 3)])
def test_the_likelihood_lays_out_its_output(event_shape):
    """In units of [−1, 1], as the paper: logits, means, log-scales, couplings."""
    shape = (event_shape,) if isinstance(event_shape, int) else event_shape
    channels, *positions = shape if len(shape) > 1 else (1, *shape)
    parts = [torch.randn(2, 3, n, *positions).double() for n in (1, channels, channels, channels * (channels - 1) // 2)]
    output = torch.cat([part.flatten(1, 2) for part in parts], 1)
    output = output.flatten(1) if len(shape) == 1 else output
    likelihood = likelihoods.DiscretizedLogisticMixture(nn.Identity(), event_shape, num_components=3, levels=16)
    assert likelihood.output_shape == output.shape[1:]
    logits, mean, log_scale, coupling = parts
    scale = log_scale.exp() / 2 + 1 / (40 * 15)
    expected = DiscretizedLogisticMixture(logits.squeeze(2), (1 + mean) / 2, scale, shape, coupling.tanh(), 16)
    x = torch.randint(16, (7, 2, *shape)).double() / 15
    torch.testing.assert_close(likelihood(output).log_prob(x), expected.log_prob(x))
    assert likelihood(output).event_shape == shape


def test_a_mixture_as_a_distribution():
    p = random_mixture((3, 2, 2), 4, 8, batch=(5, 1))
    assert (p.batch_shape, p.event_shape) == ((5, 1), (3, 2, 2))
    expanded = p.expand([2, 5, 6])
    draw = expanded.sample([3])
    assert draw.shape == (3, 2, 5, 6, 3, 2, 2)
    torch.testing.assert_close(expanded.log_prob(draw), p.log_prob(draw))
    assert p.log_prob(torch.rand(3, 2, 2).double()).shape == (5, 1)
    assert expanded.mean.shape == (2, 5, 6, 3, 2, 2)
    between = torch.full((3, 2, 2), 3.4 / 7).double()
    torch.testing.assert_close(p.log_prob(between), p.log_prob(torch.full_like(between, 3 / 7)))
    with pytest.raises(ValueError, match="support"):
        p.log_prob(torch.full((5, 1, 3, 2, 2), 1.1))


def test_mistakes_are_told():
    zeros, ones = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    with pytest.raises(pyvae.ArgumentError, match=r"loc has shape \(2, 3, 4\); expected \(\.\.\., 2, 2, 4\)"):
        DiscretizedLogisticMixture(torch.zeros(2, 4), zeros, ones, (2, 4))
    with pytest.raises(pyvae.ArgumentError, match="coupling has shape"):
        DiscretizedLogisticMixture(torch.zeros(2, 4), zeros, ones, (3, 4), torch.zeros(2, 2, 4))
    with pytest.raises(pyvae.ArgumentError, match="batch shapes"):
        DiscretizedLogisticMixture(torch.zeros(5, 2, 4), zeros.expand(6, 2, 3, 4), ones, (3, 4))
    for options in ({"levels": 1}, {"num_components": 0}):
        with pytest.raises(pyvae.ArgumentError, match="expected"):
            likelihoods.DiscretizedLogisticMixture(nn.Identity(), 3, **options)
    with pytest.raises(pyvae.PairError, match="expected"):
        likelihoods.DiscretizedLogisticMixture(nn.Identity(), (3, 4))(torch.zeros(1, 99, 4))
