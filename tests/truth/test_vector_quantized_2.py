"""VQ-VAE-2: two levels of codes against formulas written by hand, and as a distribution."""

import math
from itertools import product

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import nn

import pyvae
from pyvae import likelihoods, networks, priors, quantizers
from pyvae.networks import AnyLeadingDims

CODES, DIM, BETA, SCALE = 3, 2, 0.25, math.sqrt(0.5)


class Joined(nn.Module):
    """A convolution of fine maps and of coarse ones, brought to their size."""

    def __init__(self, channels, out):
        super().__init__()
        self.up = AnyLeadingDims(nn.Upsample(scale_factor=2), [3])
        self.network = AnyLeadingDims(nn.Conv2d(channels, out, 3, padding=1), [3])

    def forward(self, fine, coarse):
        return self.network(torch.cat([fine, self.up(coarse)], -3))


class Grown(nn.Module):
    """The decoder: both levels to images twice as large as the bottom's grid."""

    def __init__(self):
        super().__init__()
        self.joined = Joined(2 * DIM, 4)
        self.grown = AnyLeadingDims(nn.ConvTranspose2d(4, 1, 2, stride=2), [3])

    def forward(self, bottom, top):
        return self.grown(self.joined(bottom, top).tanh())


def make(**quantizer):
    """Images of 4 × 4, a bottom of 2 × 2 codes and a top of 1 × 1."""
    to_bottom = AnyLeadingDims(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(DIM, 2, 1)), [3])
    bottom = networks.PixelCNN((2, 2), CODES, channels=4, layers=3, context_channels=2)
    return pyvae.VQVAE2(
        prior_top=priors.FactorizedCodes((1, 1), CODES),
        prior_bottom=nn.Sequential(to_bottom, priors.AutoregressiveCodes(bottom)),
        likelihood=likelihoods.Normal(Grown(), (1, 4, 4), scale=SCALE, learn_scale=False),
        features=networks.Features([nn.Conv2d(1, 4, 2, stride=2), nn.Conv2d(4, DIM, 2, stride=2)]),
        condition=Joined(4 + DIM, DIM),
        quantizer_top=quantizers.VectorQuantizer(CODES, DIM, commitment=BETA, **quantizer),
        quantizer_bottom=quantizers.VectorQuantizer(CODES, DIM, commitment=BETA, **quantizer),
    )


@pytest.fixture
def x():
    return torch.randn(12, 1, 4, 4)


def quantized(z_e, codebook):
    """Straight-through vectors, codes and losses of maps (N, dim, …), by hand."""
    vectors = z_e.movedim(1, -1)
    k = (vectors[..., None, :] - codebook).square().sum(-1).argmin(-1)
    e = codebook[k]
    loss = (vectors.detach() - e).square().sum() + BETA * (vectors - e.detach()).square().sum()
    return (vectors + (e - vectors).detach()).movedim(-1, 1), k, loss


@pytest.mark.parametrize("objective", [Trace_ELBO, TraceMeanField_ELBO])
def test_loss_and_gradients_are_those_by_hand(objective, x):
    pair = make()
    coarse, fine = pair.features(x)
    z_top, k_top, loss_top = quantized(coarse, pair.quantizer_top.codebook)
    z_bottom, k_bottom, loss_bottom = quantized(pair.condition(fine, z_top), pair.quantizer_bottom.codebook)
    squares = (x - pair.likelihood.network(z_bottom, z_top)).square().sum()
    lengths = -pair.prior_top().log_prob(k_top).sum() - pair.prior_bottom(z_top.detach()).log_prob(k_bottom).sum()
    expected = squares + len(x) * 8 * math.log(math.pi) + lengths + loss_top + loss_bottom
    loss = objective(max_plate_nesting=1).differentiable_loss(pair.model, pair.guide, x)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    parameters = list(pair.parameters())
    ours, theirs = (torch.autograd.grad(value, parameters, allow_unused=True) for value in (loss, expected))
    for (name, _), one, other in zip(pair.named_parameters(), ours, theirs, strict=True):
        assert (one is None) == (other is None), name
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4, msg=name)


def test_both_levels_together_are_a_distribution():
    pair = make().double()
    bottoms = torch.tensor(list(product(range(CODES), repeat=4))).reshape(-1, 2, 2)
    total = 0.0
    with torch.no_grad():
        for top in torch.arange(CODES).reshape(CODES, 1, 1):
            z_top = pair.quantizer_top.embed(top.expand(len(bottoms), 1, 1)).movedim(-1, 1)
            log_prob = pair.prior_top().log_prob(top[None]) + pair.prior_bottom(z_top).log_prob(bottoms)
            total += float(log_prob.exp().sum())
    assert total == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("quantizer", [{}, {"decay": 0.9, "revive_below": 0.5}])
def test_it_is_trained_encodes_decodes_and_draws(quantizer, x):
    pair = make(**quantizer)
    SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO()).step(x)
    settings = {"epochs": 5, "batch_size": 20, "seed": 0, "compile": True, "progress": False}
    history = pyvae.fit(pair, x.repeat(5, 1, 1, 1), validation=x, **settings).history
    assert history[-1]["validation_reconstruction"] > history[0]["validation_reconstruction"]
    assert {"train_kl_k_top", "train_kl_k_bottom"} <= history[0].keys()
    top, bottom = pair.encode(x)
    assert (top.shape, bottom.shape) == ((12, 1, 1), (12, 2, 2))
    trace = poutine.trace(pair.eval().guide).get_trace(x)
    assert torch.equal(trace.nodes["k_top"]["value"], top)
    assert torch.equal(trace.nodes["k_bottom"]["value"], bottom)
    model = poutine.trace(poutine.replay(pair.model, trace=trace)).get_trace(x)
    assert torch.allclose(model.nodes["x"]["fn"].mean, pair.decode(top, bottom))
    assert pair.model(size=3).shape == (3, 1, 4, 4)
    with pytest.raises(pyvae.DataError, match="expected ints"):
        pair.decode(bottom, top)
    with pytest.raises(pyvae.DataError, match="1 codes of the top and 12 of the bottom"):
        pair.decode(top[:1], bottom)
    with pytest.raises(pyvae.DataError, match="NaN or infinity, first in row 0"):
        pair.encode(x / 0)


def test_levels_that_do_not_fit():
    class Coarse(nn.Module):
        def forward(self, fine, coarse):
            return coarse

    parts = dict(make().named_children())
    with pytest.raises(pyvae.PairError, match="prior_bottom"):
        pyvae.VQVAE2(**parts | {"prior_bottom": nn.Linear(3, 3)})
    with pytest.raises(
        pyvae.PairError, match=r"condition and quantizer_bottom: event shape \(1, 1\) of k_bottom; .* \(2, 2\)"
    ):
        pyvae.VQVAE2(**parts | {"condition": Coarse()})
