"""Bounds of every pair of components beside log p(x), which quadrature over two-dimensional latents knows."""

import math
from itertools import product

import pytest
import torch

import pyvae
from pyvae import guides, likelihoods, priors
from pyvae.objectives import CIWAE, MIWAE, ImportanceWeightedELBO, VariationalRenyiBound
from tests.conformance.matrix import ALL_GUIDES, ALL_LIKELIHOODS, ON_THE_SPHERE, VECTORS, arguments, build, fits

DRAWS = 8_000


def on_plane(width=8.0, count=161):
    """Nodes (n, 2) and log weights of a rule over the plane."""
    axis = torch.linspace(-width, width, count, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    return z, torch.full((len(z),), 2 * math.log(2 * width / (count - 1)), dtype=torch.float64)


def on_circle(count=2_000):
    angles = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
    return torch.stack([angles.cos(), angles.sin()], -1), torch.full((count,), math.log(2 * math.pi / count))


@torch.no_grad()
def evidence(pair, circle):
    """log p(x) of each row."""
    z, log_weights = on_circle() if circle else on_plane()
    x, *labels = arguments(pair)
    c = [pair.context(y) for y in labels]
    values = []
    for row in range(len(x)):
        context = [v[row] for v in c]
        at_nodes = [v.expand(len(z), -1) for v in context]
        joint = pair.prior(*context).log_prob(z) + pair.likelihood(z, *at_nodes).log_prob(x[row])
        values.append((joint + log_weights).logsumexp(0))
    return torch.stack(values)


def mean_bound(objective, log_weights):
    """The mean over the data of bounds from draws (DRAWS, N), and those of each group of particles."""
    groups = log_weights.unflatten(0, (objective.num_particles, -1))
    bounds = objective.bound(groups.flatten(1)).unflatten(0, (-1, log_weights.shape[1]))
    return bounds.mean(1)


def in_order(lower, higher):
    """Whether the mean of the second is not lower, by the errors of both."""
    error = math.hypot(lower.std() / math.sqrt(len(lower)), higher.std() / math.sqrt(len(higher)))
    return lower.mean() <= higher.mean() + 4 * error + 1e-6


def check(prior, likelihood, guide):
    torch.manual_seed(0)
    pair = build(prior, likelihood, guide).double()
    exact = evidence(pair, {prior, guide} <= ON_THE_SPHERE | {priors.VampPrior} and guide in ON_THE_SPHERE)
    torch.manual_seed(1)
    log_weights = pyvae.log_weights(pair, *arguments(pair), num_particles=DRAWS)
    one, five, fifty = (mean_bound(ImportanceWeightedELBO(k), log_weights) for k in (1, 5, 50))
    assert in_order(one, five)
    assert in_order(five, fifty)
    assert in_order(fifty, exact.mean().expand(2))
    effective = (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()
    if effective.min() > DRAWS / 20:  # else the guide is so narrow that the bound is far from tight
        assert abs((log_weights.logsumexp(0) - math.log(DRAWS)).mean() - exact.mean()) < 0.1
    assert in_order(one, multiple := mean_bound(MIWAE(5, 4), log_weights))
    assert in_order(multiple, five)
    assert in_order(five, multiple)
    for between in (CIWAE(5, beta=0.5), VariationalRenyiBound(0.5, 5)):
        middle = mean_bound(between, log_weights).mean()
        assert one.mean() - 1e-9 <= middle <= five.mean() + 1e-9
    return exact.mean() - one.mean()


def pairs():
    """All that fit each other; without the slow, each prior with one guide, and each guide with one prior."""
    for prior, guide in product(VECTORS, ALL_GUIDES):
        plain = prior is priors.StandardNormal or guide is guides.DiagonalNormal
        if fits(prior, guide):
            usual = plain or guide in ON_THE_SPHERE
            marks = [] if usual else pytest.mark.slow
            yield pytest.param(prior, guide, marks=marks, id=f"{prior.__name__}-{guide.__name__}")


@pytest.mark.parametrize(("prior", "guide"), list(pairs()))
def test_of_priors_and_guides(prior, guide):
    assert check(prior, likelihoods.Normal, guide) > 1e-3  # the guides have not been trained


@pytest.mark.parametrize("likelihood", ALL_LIKELIHOODS, ids=lambda c: c.__name__)
def test_of_likelihoods(likelihood):
    assert check(priors.StandardNormal, likelihood, guides.DiagonalNormal) > 1e-3
