"""Semi-amortized inference where the exact posterior is known, and its gradients."""

import copy
import io
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.distributions import kl_divergence

import pyvae
from pyvae import guides, likelihoods, networks, priors
from pyvae.errors import ArgumentError, PairError
from pyvae.objectives.default import default_objective
from tests.compilation.comparing import assert_equal_to_eager

D, PIXELS, NOISE = 2, 4, 0.5


def linear_gaussian(orthogonal=True, **options):
    """x = W z + noise, with an encoder that knows nothing, and its exact posterior."""
    decoder = nn.Linear(D, PIXELS)
    if orthogonal:  # then the latents are independent given x
        decoder.weight.data = torch.linalg.qr(torch.randn(PIXELS, D)).Q.contiguous() * torch.tensor([0.5, 1.5])
    prior, likelihood = priors.StandardNormal(D), likelihoods.Normal(decoder, PIXELS, scale=NOISE)
    amortized = guides.DiagonalNormal(nn.Linear(PIXELS, 2 * D), D)
    pair = pyvae.VAE(prior, likelihood, guides.SemiAmortized(amortized, prior, likelihood, **options)).double()
    weight, bias = decoder.weight.detach(), decoder.bias.detach()
    covariance = torch.linalg.inv(torch.eye(D, dtype=torch.float64) + weight.T @ weight / NOISE**2)
    x = torch.randn(6, PIXELS, dtype=torch.float64)
    return pair, x, dist.MultivariateNormal((x - bias) / NOISE**2 @ weight @ covariance, covariance)


def test_converges_to_the_exact_posterior():
    pair, x, exact = linear_gaussian(steps=300, step_size=0.05)
    with torch.no_grad():
        q = pair.posterior(x)
    torch.testing.assert_close(q.mean, exact.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(q.variance, exact.variance, rtol=1e-6, atol=0)


def test_finds_the_mean_and_the_best_variances_of_dependent_latents():
    pair, x, exact = linear_gaussian(orthogonal=False, steps=400, step_size=0.02, num_pairs=400)
    with torch.no_grad():
        q = pair.posterior(x)
    torch.testing.assert_close(q.mean, exact.mean, rtol=0, atol=1e-3)
    best = 1 / torch.linalg.inv(exact.covariance_matrix).diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(q.variance, best.expand_as(q.variance), rtol=0.15, atol=0)


@pytest.mark.parametrize("orthogonal", [False, True])
def test_every_step_brings_it_nearer(orthogonal):
    kl = []
    for steps in (1, 3, 10, 30):
        torch.manual_seed(0)
        pair, x, exact = linear_gaussian(orthogonal, steps=steps, step_size=0.02, num_pairs=20)
        with torch.no_grad():
            q, unrefined = pair.posterior(x), pair.posterior.posterior(x)
        kl.append(kl_divergence(dist.MultivariateNormal(q.mean, q.variance.diag_embed()), exact).mean())
        start = kl_divergence(dist.MultivariateNormal(unrefined.mean, unrefined.variance.diag_embed()), exact).mean()
        assert kl[-1] < start
    assert kl == sorted(kl, reverse=True)


def test_the_bound_rises():
    pair, x, _ = linear_gaussian(steps=5, step_size=0.05)
    unrefined = pyvae.VAE(pair.prior, pair.likelihood, pair.posterior.posterior)
    x = torch.randn(200, PIXELS, dtype=torch.float64)
    refined, start = (float(pyvae.elbo(p, x, num_particles=20)) for p in (pair, unrefined))
    assert refined > start + 0.1


@pytest.mark.parametrize("step_size", [0.01, 1.0])
def test_one_step_is_that_of_the_formula(step_size):
    pair, x, _ = linear_gaussian(steps=1, step_size=step_size)
    base = pair.posterior.posterior(x).base_dist
    torch.manual_seed(3)
    q = pair.posterior(x)
    torch.manual_seed(3)
    sign = torch.randn(1, *base.loc.shape, dtype=torch.float64).sign()[0]
    loc, log_scale = base.loc.detach().requires_grad_(), base.scale.detach().log().requires_grad_()
    elbo = log_scale.sum()
    for side in (1, -1):
        z = loc + side * sign * log_scale.exp()
        elbo = elbo + (pair.prior().log_prob(z) + pair.likelihood(z).log_prob(x)).sum() / 2
    elbo.backward()
    change = step_size * log_scale.grad
    assert bool((change.abs() > 1).any()) == (step_size == 1)
    torch.testing.assert_close(q.mean, base.loc + step_size * loc.grad)
    torch.testing.assert_close(q.stddev.log(), base.scale.log() + change.clamp(-1, 1))


def test_gradients_go_through_the_steps():
    """To encoder and likelihood, by finite differences of the whole map."""
    pair, x, _ = linear_gaussian(steps=3, step_size=0.05)
    pair.likelihood.network = nn.Sequential(nn.Linear(D, 3), nn.Tanh(), nn.Linear(3, PIXELS)).double()
    parameters = dict(pair.named_parameters())

    def refined(*values):
        torch.manual_seed(0)
        q = torch.func.functional_call(pair, dict(zip(parameters, values, strict=True)), (x,))
        return q.mean, q.stddev

    pair.forward = pair.posterior.forward
    assert torch.autograd.gradcheck(refined, tuple(p.detach().requires_grad_() for p in parameters.values()))


def test_rows_do_not_mix():
    pair, x, _ = linear_gaussian(steps=3)
    x.requires_grad_()

    def refined(x):
        torch.manual_seed(0)
        return pair.posterior(x).mean

    jacobian = torch.autograd.functional.jacobian(refined, x)
    across = jacobian.sum((1, 3)) * (1 - torch.eye(len(x), dtype=torch.float64))
    assert (across == 0).all()
    assert (jacobian.diagonal(dim1=0, dim2=2) != 0).any()


def test_without_gradients():
    pair, x, _ = linear_gaussian(steps=3)
    with torch.no_grad():
        torch.manual_seed(0)
        quiet = pair.posterior(x)
        assert not torch.is_grad_enabled()
    torch.manual_seed(0)
    torch.testing.assert_close(quiet.mean, pair.posterior(x).mean)
    assert not quiet.mean.requires_grad
    assert all(p.grad is None for p in pair.parameters())
    for parameter in pair.parameters():
        parameter.requires_grad_(False)
    assert pair.posterior(x).mean.isfinite().all()


def test_leading_dims_and_context():
    prior = priors.ConditionalNormal(nn.Linear(3, 2 * D), D)
    likelihood = likelihoods.Bernoulli(networks.MLP(D, PIXELS, [8], context_dim=3), PIXELS)
    amortized = guides.DiagonalNormal(networks.MLP(PIXELS, 2 * D, [8], context_dim=3), D)
    pair = pyvae.VAE(prior, likelihood, guides.SemiAmortized(amortized, prior, likelihood), networks.OneHot(3))
    q = pair.posterior(torch.rand(2, 5, PIXELS).round(), torch.rand(2, 5, 3))
    assert (q.batch_shape, q.event_shape) == ((2, 5), (D,))
    x, y = torch.rand(6, PIXELS).round(), torch.arange(6) % 3
    for objective in (Trace_ELBO(3, vectorize_particles=True), TraceMeanField_ELBO()):
        before = [p.detach().clone() for p in pair.parameters()]
        svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), objective)
        assert all(math.isfinite(svi.step(x, y)) for _ in range(2))
        assert all(not torch.equal(b, p) for b, p in zip(before, pair.parameters(), strict=True))
    assert Predictive(pair.model, guide=pair.guide, num_samples=3)(x, y)["z"].shape == (3, 6, D)


def a_pair():
    pair, x, _ = linear_gaussian(steps=2)
    return pair.float(), x.float()


def test_prior_and_likelihood_stay_the_pairs_own(tmp_path):
    pair, _ = a_pair()
    assert {n.split(".")[0] for n in pair.state_dict()} == {"likelihood", "posterior"}
    assert {n.split(".")[1] for n in pair.state_dict() if n.startswith("posterior")} == {"posterior"}
    stream = io.BytesIO()
    torch.save(pair, stream)
    stream.seek(0)
    for copied in (copy.deepcopy(pair), torch.load(stream, weights_only=False)):
        assert copied.posterior._model[0] is copied.prior
        assert copied.posterior._model[1] is copied.likelihood
        assert copied.likelihood is not pair.likelihood
    pyvae.save(tmp_path / "pair.safetensors", pair)
    pair.to("meta")
    assert next(pair.posterior._model[1].parameters()).is_meta


def test_fit():
    pair, x = a_pair()
    assert isinstance(default_objective(pyvae.inspection.inspect_pair(pair, (x,))), TraceMeanField_ELBO)
    result = pyvae.fit(pair, x, epochs=2, batch_size=3, seed=0, progress=False)
    assert math.isfinite(result.history[-1]["train_loss"])


def test_refusals():
    pair, x = a_pair()
    components = (pair.posterior.posterior, pair.prior, pair.likelihood)
    with pytest.raises(ArgumentError, match="prior"):
        guides.SemiAmortized(components[0], priors.StandardNormal, components[2])
    for options in ({"steps": 0}, {"step_size": 0.0}, {"num_pairs": 0}):
        with pytest.raises(ArgumentError, match=next(iter(options))):
            guides.SemiAmortized(*components, **options)
    flow = guides.FullRankNormal(nn.Linear(PIXELS, 5), D)
    with pytest.raises(PairError, match="DiagonalNormal"):
        guides.SemiAmortized(flow, *components[1:])(x)


@pytest.mark.usefixtures("interpreted")
def test_compiled_it_is_the_same():
    pair, x = a_pair()
    assert_equal_to_eager(pair, TraceMeanField_ELBO(max_plate_nesting=1), x)
