"""Hierarchies of linear-Gaussian chains, where ELBO, its terms and log p(x) have closed forms."""

import pytest
import torch
from torch import nn

import pyvae
from pyvae import guides, likelihoods, networks, priors
from tests.truth.gaussian_chains import Chain, joint

DIMENSIONS, DATA = 3, 40
KINDS = ("bottom-up", "bottom-up that sees x", "top-down")


class Affine(nn.Module):
    """(Σ_i g_i · input_i + offset, log variance): what networks of location and scale give."""

    def __init__(self, gains, offset, variance):
        super().__init__()
        self.gains = nn.ParameterList(gains)
        self.offset, self.log_variance = nn.Parameter(offset), nn.Parameter(variance.log())

    def forward(self, *inputs):
        loc = sum(g * i for g, i in zip(self.gains, inputs, strict=True)) + self.offset
        return torch.cat([loc, self.log_variance.expand_as(loc)], -1)


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(factor)

    def forward(self, x):
        return self.factor * x


def some(*shape, low=0.5, high=1.5):
    return low + (high - low) * torch.rand(*shape, dtype=torch.float64)


@pytest.fixture(params=[1, 2, 5], ids=lambda depth: f"T={depth}")
def chain(request):
    above = request.param - 1
    a, b = some(above, DIMENSIONS, low=-1.2, high=1.2), some(DIMENSIONS)
    return Chain(a + 0.3 * a.sign(), some(above, DIMENSIONS), b, 0.7)


@pytest.fixture
def x(chain):
    return 2 * torch.randn(DATA, DIMENSIONS, dtype=torch.float64)


def of_model(chain):
    """The components of p."""
    zero = torch.zeros(DIMENSIONS, dtype=torch.float64)
    return {
        "prior": priors.StandardNormal(DIMENSIONS).double(),
        "transitions": [
            priors.ConditionalNormal(Affine([a], zero, s**2), DIMENSIONS) for a, s in zip(chain.a, chain.s, strict=True)
        ],
        "likelihood": likelihoods.Normal(Scaled(chain.b), DIMENSIONS, scale=chain.r).double(),
    }


def bottom_up(chain, off, sees_data):
    """The pair whose guide is ``off`` the exact one, and that guide's moments: q(x) = mean, covariance, variances."""
    covariance, bottom = joint(chain.program)[1], chain.depth - 1
    steps = []  # of z_T, …, z_1, each given the one drawn before it (z_T: given x), and x
    for t in range(bottom, -1, -1):
        gain = covariance[:, t, t + 1] / covariance[:, t + 1, t + 1]
        variance = covariance[:, t, t] - gain * covariance[:, t, t + 1]
        to_x = off * some(DIMENSIONS, high=1.0) * (sees_data and t < bottom)
        offset = off * some(DIMENSIONS) * (-1) ** t
        steps.append((gain * (1 - off / 2), to_x, offset, variance * (off * (t + 1) / chain.depth).exp()))
    posterior, *others = steps
    networks_ = [Affine([to_x, gain] if sees_data else [gain], *rest) for gain, to_x, *rest in reversed(others)]
    pair = pyvae.MarkovVAE(
        **of_model(chain),
        posterior=guides.DiagonalNormal(Affine([posterior[0]], *posterior[2:]), DIMENSIONS),
        reverse_transitions=[guides.DiagonalNormal(n, DIMENSIONS) for n in networks_],
        sees_data=sees_data,
    )

    def q(x):
        program = [({}, posterior[0] * x + posterior[2], posterior[3])]
        program += [({i: g}, to_x * x + o, v) for i, (g, to_x, o, v) in enumerate(others)]
        mean, covariance = joint(program)
        return (mean.flip(-1), covariance.flip(-1, -2)), [step[3] for step in reversed(steps)]

    return pair, q


def top_down(chain, off):
    """The same for LadderVAE: what x says of z_t is N(x; B z_t, V), made of d_t, a multiple of x."""
    scales = some(chain.depth, DIMENSIONS)
    d = scales.cumprod(0).flip(0)  # d_t / x
    says = []  # location per x, offset, variance
    for t in range(chain.depth):
        gain, variance = chain.factor(t)
        variance = variance / gain**2 * (off * (t + 1)).exp()
        says.append((1 / gain * (1 - off / 2), off * some(DIMENSIONS) * (-1) ** t, variance))
    pair = pyvae.LadderVAE(
        **of_model(chain),
        features=networks.Features([Scaled(s) for s in scales]),
        posteriors=[
            guides.PrecisionWeighted(Affine([gain / d[t]], offset, variance), DIMENSIONS)
            for t, (gain, offset, variance) in enumerate(says)
        ],
    )

    def q(x):
        program = []
        for (gains, _, variance), (gain, offset, said) in zip(chain.program[:-1], says, strict=True):
            both = 1 / (1 / variance + 1 / said)
            gains = {j: both / variance * a for j, a in gains.items()}
            program.append((gains, both / said * (gain * x + offset), both))
        return joint(program), [step[2] for step in program]

    return pair, q


def pair_of(kind, chain, off):
    off = torch.tensor(off, dtype=torch.float64)
    return top_down(chain, off) if kind == "top-down" else bottom_up(chain, off, kind == KINDS[1])


@pytest.mark.parametrize("kind", KINDS)
def test_elbo_of_the_exact_posterior_is_the_marginal_likelihood(kind, chain, x):
    pair, q = pair_of(kind, chain, 0.0)
    torch.testing.assert_close(q(x)[0], chain.posterior(x))
    estimate = pyvae.elbo(pair, x, num_particles=5)
    torch.testing.assert_close(estimate.per_datapoint, chain.log_marginal(x), atol=1e-5, rtol=0)
    assert pyvae.log_weights(pair, x, num_particles=5).std(0).max() < 1e-5
    bound = pyvae.log_likelihood(pair, x, num_particles=5)
    torch.testing.assert_close(bound.per_datapoint, chain.log_marginal(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_elbo_of_any_other_guide_falls_short_by_the_kl_of_the_joints(kind, chain, x):
    pair, q = pair_of(kind, chain, 0.3)
    estimate = pyvae.elbo(pair, x, num_particles=1000, seed=0)
    gap, kl = chain.log_marginal(x) - estimate.per_datapoint, chain.kl(q(x)[0], x)
    assert estimate.standard_error < 0.02 * kl.mean()
    assert abs(gap.mean() - kl.mean()) < 4 * estimate.standard_error
    assert ((gap - kl).abs() < 5 * estimate.standard_errors).all()
    assert (gap > 0).all()


@pytest.mark.parametrize("off", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_terms_of_the_elbo(kind, off, chain, x):
    pair, q = pair_of(kind, chain, off)
    estimate = pyvae.elbo(pair, x, num_particles=1000, seed=0)
    assert list(estimate.kl_terms) == [f"z_{t}" for t in range(1, chain.depth + 1)]
    total = sum(estimate.kl_terms.values())
    torch.testing.assert_close(estimate.kl, total)
    torch.testing.assert_close(estimate.reconstruction - total, estimate.per_datapoint, atol=1e-8, rtol=0)
    for (name, term), expected in zip(estimate.kl_terms.items(), chain.terms(*q(x)), strict=True):
        spread = (term - expected).std()  # the Monte Carlo error of a datapoint, and the data's are independent
        assert spread < 0.1 * expected.abs().mean() + 0.05
        assert abs((term - expected).mean()) < 4 * spread / DATA**0.5
        if kind == "top-down" or name == "z_1":  # an expected KL
            assert (expected >= 0).all()
            assert (term > -8 * spread).all()


@pytest.mark.parametrize("kind", KINDS)
def test_log_likelihood_lies_between_elbo_and_the_marginal_likelihood(kind, chain, x):
    pair, _ = pair_of(kind, chain, 0.2)
    exact, lower = chain.log_marginal(x).mean(), pyvae.elbo(pair, x, num_particles=1000, seed=0)
    few, many = (pyvae.log_likelihood(pair, x, num_particles=k, seed=0) for k in (3, 5000))
    assert lower.value < many.value < exact + 4 * many.standard_error
    assert lower.value - 4 * few.standard_error < few.value < exact + 4 * few.standard_error
    assert many.value > exact - 0.1 * (exact - lower.value)


def test_the_closed_forms_agree_with_each_other(chain, x):
    """Chain rule: the terms of a guide that runs with the model are KLs of the joints of the first t latents."""
    _, q = pair_of("top-down", chain, 0.3)
    (mean, covariance), variances = q(x)
    p_mean, p_covariance = joint(chain.program)
    ours = torch.stack(chain.terms((mean, covariance), variances)).cumsum(0)
    for t in range(1, chain.depth + 1):
        first = torch.distributions.MultivariateNormal(mean[..., :t], covariance[:, :t, :t])
        prior = torch.distributions.MultivariateNormal(p_mean[:, :t], p_covariance[:, :t, :t])
        torch.testing.assert_close(torch.distributions.kl_divergence(first, prior).sum(-1), ours[t - 1])
