"""Likelihoods against scipy's distributions, closed forms, and what their parameters must be estimated as."""

import pyro
import pytest
import scipy.stats as st
import torch
from pyro.infer import SVI, Trace_ELBO
from torch import nn

import pyvae
from pyvae import distributions, likelihoods

SHAPE = (2, 3)


class Constant(nn.Module):
    """f(z, c) = f, whatever it is called with."""

    def __init__(self, output):
        super().__init__()
        self.output = nn.Parameter(output)

    def forward(self, z, *context):
        return self.output.expand(*z.shape[:-1], *self.output.shape)


def at(cls, output, **options):
    """The likelihood, of x of the shape of ``output`` unless told otherwise, over a constant."""
    return cls(Constant(output), options.pop("event_shape", tuple(output.shape)), **options).to(output.dtype)


def maximized(likelihood, x, *context, steps=60):
    """The likelihood after the steps of L-BFGS that fit its parameters to the rows of x."""
    z = x.new_zeros(len(x), 1)
    likelihood.network.requires_grad_(False)
    optimizer = torch.optim.LBFGS(likelihood.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = -likelihood(z, *context).log_prob(x).mean()
        value.backward()
        return value

    optimizer.step(loss)
    return likelihood


@pytest.mark.parametrize(
    ("cls", "options", "reference"),
    [
        (likelihoods.Normal, {"scale": 0.3}, lambda loc: st.norm(loc, 0.3)),
        (likelihoods.Laplace, {"scale": 0.3}, lambda loc: st.laplace(loc, 0.3)),
        (likelihoods.StudentT, {"scale": 0.3}, lambda loc: st.t(3, loc, 0.3)),
        (likelihoods.StudentT, {"scale": 2.0, "df": 0.7, "learn_df": True}, lambda loc: st.t(0.7, loc, 2.0)),
    ],
)
@pytest.mark.parametrize("per_element", [False, True])
def test_locations_and_scales_against_scipy(cls, options, reference, per_element):
    loc, x = torch.randn(SHAPE).double(), 5 * torch.randn(7, *SHAPE).double()
    likelihood = at(cls, loc, **options, per_element=per_element)
    expected = torch.as_tensor(reference(loc).logpdf(x)).sum((-1, -2))
    torch.testing.assert_close(likelihood(torch.zeros(7, 1)).log_prob(x), expected, rtol=1e-6, atol=0)
    assert likelihood.scale.shape == (SHAPE if per_element else ())


@pytest.mark.parametrize("cls", [likelihoods.Normal, likelihoods.Laplace, likelihoods.StudentT])
def test_scales_are_parameters_only_if_learned(cls):
    for per_element in (False, True):
        fixed, learned = (at(cls, torch.zeros(3), learn_scale=learn, per_element=per_element) for learn in (0, 1))
        assert "log_scale" in dict(learned.named_parameters())
        assert "log_scale" not in dict(fixed.named_parameters())
        assert fixed.state_dict()["log_scale"].shape == ((3,) if per_element else ())
    for wrong in (0, -1.0, float("nan")):
        with pytest.raises(pyvae.ArgumentError, match="scale is"):
            at(cls, torch.zeros(3), scale=wrong)


def test_representations_tell_the_scale():
    normal = at(likelihoods.Normal, torch.zeros(3), scale=0.5, learn_scale=False)
    assert normal.extra_repr() == "event_shape=(3,), scale=0.5, learn_scale=False"
    t = at(likelihoods.StudentT, torch.zeros(2), learn_scale=True, per_element=True, df=4)
    with torch.no_grad():
        t.log_scale.copy_(torch.tensor([0.5, 2.0]).log())
    assert t.extra_repr().endswith("scale=0.5…2, learn_scale=True, per_element=True, df=4, learn_df=False")


@pytest.mark.parametrize(
    ("cls", "solution"),
    [
        (likelihoods.Normal, lambda error: error.square().mean(0).sqrt()),
        (likelihoods.Laplace, lambda error: error.abs().mean(0)),
    ],
)
def test_scales_of_elements_have_their_maximum_likelihood_solution(cls, solution):
    """σ_i² is the mean squared error of element i, and Laplace's b_i the mean absolute error."""
    loc = torch.tensor([1.0, -2.0, 0.5]).double()
    x = loc + torch.randn(50, 3).double() * torch.tensor([0.05, 1.0, 7.0])
    each = maximized(at(cls, loc, learn_scale=True, per_element=True), x)
    torch.testing.assert_close(each.scale, solution(x - loc), rtol=1e-4, atol=0)
    one = maximized(at(cls, loc, learn_scale=True), x)
    torch.testing.assert_close(one.scale, solution((x - loc).reshape(-1)), rtol=1e-4, atol=0)


def test_degrees_of_freedom_are_learned():
    x = torch.as_tensor(st.t(2.5, 0.0, 0.4).rvs((20_000, 1), random_state=0))
    t = maximized(at(likelihoods.StudentT, torch.zeros(1).double(), learn_scale=True, learn_df=True, df=30), x)
    df, _, scale = st.t.fit(x.numpy(), floc=0.0)
    assert t.df.item() == pytest.approx(df, rel=1e-3)
    assert t.scale.item() == pytest.approx(scale, rel=1e-3)
    assert t.df.item() == pytest.approx(2.5, rel=0.1)
    for wrong in (0, -1, "three"):
        with pytest.raises(pyvae.ArgumentError, match="df is"):
            at(likelihoods.StudentT, torch.zeros(1), df=wrong)


@pytest.mark.parametrize("event_shape", [4, (2, 3), (3, 2, 2)])
def test_levels_have_the_probabilities_of_their_logits(event_shape):
    shape = (event_shape,) if isinstance(event_shape, int) else event_shape
    logits = 3 * torch.randn(5, *shape).double()  # level after level
    output = logits.flatten(0, 1)
    likelihood = at(likelihoods.Categorical, output, event_shape=event_shape, levels=5)
    assert likelihood.output_shape == output.shape
    k = torch.randint(5, (6, *shape))
    expected = logits.log_softmax(0).expand(6, 5, *shape).gather(1, k[:, None]).squeeze(1).flatten(1).sum(1)
    distribution = likelihood(torch.zeros(6, 1))
    torch.testing.assert_close(distribution.log_prob(k.double() / 4), expected)
    grid = (torch.arange(5) / 4).reshape(5, *[1] * len(shape))
    torch.testing.assert_close(distribution.mean[0], (logits.softmax(0) * grid).sum(0))
    draws = at(likelihoods.Categorical, output, event_shape=event_shape, levels=5)(torch.zeros(20_000, 1)).sample()
    for level in range(5):
        rate = (draws == level / 4).double().mean(0)
        assert ((rate - logits.softmax(0)[level]).abs() < 5 * 0.5 / 20_000**0.5).all()


def test_levels_as_a_distribution():
    distribution = distributions.CategoricalLevels(torch.randn(4, 1, 3))
    assert distribution.batch_shape == (4, 1)
    assert distribution.expand([4, 2]).sample([5]).shape == (5, 4, 2)
    assert distribution.log_prob(torch.rand(6, 1, 1)).shape == (6, 4, 1)
    extreme = distributions.CategoricalLevels(torch.tensor([-1e4, 0.0, 1e4], requires_grad=True))
    log_probs = extreme.log_prob(torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(log_probs, torch.tensor([-2e4, -1e4, 0.0]))
    log_probs.sum().backward()
    assert extreme.logits.grad.isfinite().all()
    each = torch.randn(256)  # all levels as they are in single precision, and values between
    values = torch.arange(256) / 255
    for shift in (0, 0.4 / 255, -0.4 / 255):
        found = distributions.CategoricalLevels(each).log_prob((values + shift).clamp(0, 1))
        torch.testing.assert_close(found, each.log_softmax(0))
    with pytest.raises(ValueError, match="support"):
        distribution.log_prob(torch.full((4, 1), 1.1))
    with pytest.raises(pyvae.ArgumentError, match="at least 2"):
        distributions.CategoricalLevels(torch.zeros(4, 1))
    for wrong in (1, 2.0):
        with pytest.raises(pyvae.ArgumentError, match="levels is"):
            at(likelihoods.Categorical, torch.zeros(3), levels=wrong)


def test_counts_against_scipy():
    log_mean, x = 2 * torch.randn(SHAPE).double(), torch.randint(12, (7, *SHAPE)).double()
    z = torch.zeros(7, 1)
    expected = torch.as_tensor(st.poisson(log_mean.exp()).logpmf(x)).sum((-1, -2))
    torch.testing.assert_close(at(likelihoods.Poisson, log_mean)(z).log_prob(x), expected)
    negative_binomial = at(likelihoods.NegativeBinomial, log_mean)
    with torch.no_grad():
        negative_binomial.log_theta.normal_()
    theta, mean = negative_binomial.theta.detach(), log_mean.exp()
    expected = torch.as_tensor(st.nbinom(theta, theta / (theta + mean)).logpmf(x)).sum((-1, -2))
    torch.testing.assert_close(negative_binomial(z).log_prob(x), expected)
    torch.testing.assert_close(negative_binomial(z).mean[0], mean)
    torch.testing.assert_close(negative_binomial(z).variance[0], mean + mean.square() / theta)


def test_dispersions_are_learned_per_element():
    """Of data with a mean of 5 and given variances, θ = μ²/(σ² − μ), up to sampling error."""
    theta = torch.tensor([0.5, 3.0]).double()
    x = torch.distributions.NegativeBinomial(theta, logits=(5 / theta).log()).sample([20_000])
    learned = maximized(at(likelihoods.NegativeBinomial, torch.full((2,), 5.0).double().log()), x).theta
    torch.testing.assert_close(learned, theta, rtol=0.06, atol=0)


COUNTS = [likelihoods.Poisson, likelihoods.NegativeBinomial]


@pytest.mark.parametrize("cls", COUNTS)
@pytest.mark.parametrize("shape", [(6,), SHAPE])
def test_library_sizes_are_the_sums_of_the_means(cls, shape):
    output, sizes = torch.randn(shape), torch.tensor([[3.0], [1e4]])
    likelihood = at(cls, output, library=True)
    other = torch.randn(2, 4)  # what else is in the context comes first
    mean = likelihood(torch.zeros(5, 2, 1), torch.cat([other, sizes.log()], -1)).mean
    expected = sizes * output.flatten().softmax(0)
    torch.testing.assert_close(mean, expected.reshape(2, *shape).expand(5, 2, *shape))
    with pytest.raises(pyvae.ArgumentError, match="library=True"):
        likelihood(torch.zeros(2, 1))


@pytest.mark.parametrize("cls", COUNTS)
def test_extreme_log_means_have_finite_densities_and_gradients(cls):
    likelihood = at(cls, torch.tensor([-1000.0, -100.0, 0.0, 50.0]))
    log_prob = likelihood(torch.zeros(3, 1)).log_prob(torch.tensor([[0.0], [1.0], [1e4]]).expand(3, 4))
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert all(p.grad.isfinite().all() for p in likelihood.parameters())


def test_a_pair_of_counts_with_library_sizes():
    """The labels are log total counts, as they are."""
    x = torch.poisson(torch.rand(8, 5) * 10)
    log_totals = x.sum(-1, keepdim=True).log()

    vae = pyvae.VAE(
        pyvae.priors.StandardNormal(2),
        likelihoods.NegativeBinomial(pyvae.networks.MLP(2, 5, [4], context_dim=1), 5, library=True),
        pyvae.guides.DiagonalNormal(pyvae.networks.MLP(5, 4, [4], context_dim=1), 2),
        context=nn.Identity(),
    )
    step = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO()).step
    assert torch.tensor([step(x, log_totals) for _ in range(5)]).isfinite().all()
    assert vae.model(None, log_totals).shape == x.shape


@pytest.mark.parametrize("cls", [likelihoods.Categorical, likelihoods.ContinuousBernoulli])
def test_log_probabilities_of_half_precision_outputs_are_summed_in_single(cls):
    output = torch.randn(cls(nn.Identity(), 300).output_shape).bfloat16()
    x = torch.randint(256, (4, 300)) / 255
    likelihood, exact = at(cls, output, event_shape=300), at(cls, output.double(), event_shape=300)
    found, expected = (p(torch.zeros(4, 1)).log_prob(x) for p in (likelihood, exact))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
