"""Codes that are drawn: ELBO, gradients and importance weights against enumeration of every grid."""

import math

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO
from torch import nn

import pyvae
from pyvae import likelihoods, priors, quantizers
from tests.compilation.comparing import assert_equal_to_eager

CODES, DIM, GRID, WIDTH = 3, 2, 2, 4


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return pyvae.VQVAE(
        prior=priors.FactorizedCodes((GRID,), num_codes=CODES),
        likelihood=likelihoods.Normal(
            nn.Sequential(nn.Flatten(-2), nn.Linear(GRID * DIM, WIDTH)), event_shape=WIDTH, learn_scale=False
        ),
        encoder=nn.Sequential(nn.Linear(WIDTH, GRID * DIM), nn.Unflatten(-1, (DIM, GRID))),
        quantizer=quantizers.SoftmaxQuantizer(CODES, DIM, temperature=0.7),
    )


@pytest.fixture
def x():
    return torch.randn(6, WIDTH)


def enumerated(pair, x):
    """log q(k | x) and log p(x, k) of every grid, by hand: (grids, N) each."""
    every = torch.cartesian_prod(*[torch.arange(CODES)] * GRID)
    z_e, codebook = pair.encoder(x).movedim(1, -1), pair.quantizer.embedding.weight
    log_q = (-(z_e[:, :, None] - codebook).square().sum(-1) / 0.7).log_softmax(-1)
    log_q = torch.stack([log_q[:, torch.arange(GRID), k].sum(-1) for k in every])
    log_prior = torch.stack([pair.prior.logits.log_softmax(-1)[torch.arange(GRID), k].sum() for k in every])
    loc = pair.likelihood.network(codebook[every].movedim(-1, 1))
    log_likelihood = torch.distributions.Normal(loc[:, None], 1.0).log_prob(x).sum(-1)
    return log_q, log_likelihood + log_prior[:, None]


def test_the_elbo_is_that_of_enumeration(pair, x):
    log_q, log_joint = enumerated(pair, x)
    exact = (log_q.exp() * (log_joint - log_q)).sum(0).detach()
    estimate = pyvae.elbo(pair, x, num_particles=4000, seed=0)
    assert ((estimate.per_datapoint - exact).abs() < 4 * estimate.standard_errors + 1e-6).all()
    assert (estimate.kl_terms["z"] == 0).all()


def test_importance_weights_find_the_evidence(pair, x):
    _, log_joint = enumerated(pair, x)
    evaluation = pyvae.evaluate(pair, x, num_particles=4000, seed=0)
    exact = log_joint.logsumexp(0).detach()
    bound = evaluation.log_likelihood
    assert ((bound.per_datapoint - exact).abs() < 4 * bound.standard_errors + 1e-6).all()
    assert evaluation.elbo.value < float(exact.mean())
    assert evaluation.codes["k"].num_codes == CODES


def gradients(objective, pair, x, runs, copies=100):
    """Estimates of a gradient, each the mean over copies of the data, which are drawn together."""
    draws = []
    for _ in range(runs):
        pair.zero_grad()
        objective.loss_and_grads(pair.model, pair.guide, x.repeat(copies, 1))
        draws.append(torch.cat([p.grad.flatten() for p in pair.parameters()]) / copies)
    return torch.stack(draws)


@pytest.mark.parametrize("make", [Trace_ELBO, TraceGraph_ELBO], ids=lambda m: m.__name__)
def test_the_gradient_is_without_bias(pair, x, make):
    log_q, log_joint = enumerated(pair, x)
    loss = -(log_q.exp() * (log_joint - log_q)).sum()
    parameters = list(pair.parameters())
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
    draws = gradients(make(), pair, x, 60)
    errors = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - exact).abs() < 4.5 * errors + 1e-5).all()
    assert (exact.abs() > 5 * errors).float().mean() > 0.3  # or the test could not fail


def test_it_trains_and_generates(pair, x):
    before = pyvae.elbo(pair, x, num_particles=500, seed=0).value
    result = pyvae.fit(pair, x, epochs=60, seed=0, progress=False, optimizer=lambda p: torch.optim.Adam(p, lr=0.02))
    assert "train_perplexity_k" in result.history[-1]
    assert pyvae.elbo(pair, x, num_particles=500, seed=0).value > before + 0.5
    assert pair.decode(pair.encode(x)).shape == x.shape
    assert pair.model(size=3).shape == (3, WIDTH)


@pytest.mark.usefixtures("interpreted")
def test_compiled_losses_and_gradients_are_the_eager_ones(pair, x):
    assert_equal_to_eager(pair, Trace_ELBO(), x)


class Joined(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, one, other):
        return self.linear(torch.cat([one, other], -2).flatten(-2)).unsqueeze(-1)


class Below(nn.Module):
    """One code whose logits are linear in the vector above."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(DIM, CODES)

    def forward(self, z_top):
        return torch.distributions.Categorical(logits=self.linear(z_top.movedim(-1, -2)))


class AsPyro(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *inputs):
        return pyro.distributions.Categorical(logits=self.network(*inputs).logits).to_event(1)


def test_drawn_codes_of_a_top_level_pass_the_gradient_of_the_prior_below():
    """One code per level: the ELBO is a sum over nine pairs of them."""
    torch.manual_seed(0)
    below = Below()
    pair = pyvae.VQVAE2(
        prior_top=priors.FactorizedCodes((1,), num_codes=CODES),
        prior_bottom=AsPyro(below),
        likelihood=likelihoods.Normal(Flat(Joined(2 * DIM, WIDTH)), event_shape=WIDTH),
        features=Both(),
        condition=Joined(WIDTH + DIM, DIM),
        quantizer_top=quantizers.SoftmaxQuantizer(CODES, DIM),
        quantizer_bottom=quantizers.SoftmaxQuantizer(CODES, DIM),
    )
    x = torch.randn(6, WIDTH)
    loss = 0.0
    top, bottom = pair.quantizer_top.embedding.weight, pair.quantizer_bottom.embedding.weight
    h_top, h_bottom = pair.features(x)
    log_q_top = -(h_top[..., 0][:, None] - top).square().sum(-1)
    log_q_top = log_q_top.log_softmax(-1)
    for j in range(CODES):
        z_top = top[j].expand(6, DIM)[..., None]
        maps = pair.condition(h_bottom, z_top)[..., 0]
        log_q_bottom = (-(maps[:, None] - bottom).square().sum(-1)).log_softmax(-1)
        log_p_bottom = below(z_top).logits[:, 0].log_softmax(-1)
        for i in range(CODES):
            z_bottom = bottom[i].expand(6, DIM)[..., None]
            log_x = pair.likelihood(z_bottom, z_top).log_prob(x)
            log_joint = log_x + log_p_bottom[:, i] + pair.prior_top.logits.log_softmax(-1)[0, j]
            log_q = log_q_top[:, j] + log_q_bottom[:, i]
            loss = loss - (log_q.exp() * (log_joint - log_q)).sum()
    parameters = list(pair.parameters())
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
    draws = gradients(Trace_ELBO(), pair, x, 60)
    errors = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - exact).abs() < 4.5 * errors + 1e-4).all()


class Flat(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, *inputs):
        return self.network(*inputs)[..., 0]


class Both(nn.Module):
    """Features of the top, (…, DIM, 1), and of the bottom, (…, WIDTH, 1)."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, DIM)

    def forward(self, x):
        return self.linear(x)[..., None], x[..., None]
