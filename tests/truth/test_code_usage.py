"""How codes are used: counted by hand, on pairs of ours and of others."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import pyvae
from pyvae import likelihoods, priors, quantizers
from pyvae.diagnostics import CodeUsage


class Lookup(nn.Module):
    """x is the code itself."""

    def __init__(self, num_codes=5):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(num_codes))

    def model(self, x):
        pyro.module("lookup", self)
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(logits=self.logits.expand(2, -1)).to_event(1))
            pyro.sample("x", dist.Normal(k.float(), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Delta(x.long(), event_dim=1))


def test_counts_are_those_of_the_data_whatever_the_batches():
    x = torch.randint(4, (3000, 2)).float()
    usage = pyvae.code_usage(Lookup(), x)["k"]
    counts = x.long().flatten().bincount(minlength=5)
    assert torch.equal(usage.counts, counts)
    frequencies = counts[:4] / counts.sum()
    assert usage.perplexity == pytest.approx(float((-frequencies * frequencies.log()).sum().exp()))
    assert (usage.dead, usage.usage, usage.places, usage.num_codes) == (1, 0.8, 2, 5)
    assert usage.uniform_bits == pytest.approx(2 * math.log2(5))


def test_perplexity_lies_between_one_and_the_number_of_codes():
    assert CodeUsage(torch.tensor([7, 0, 0]), 1).perplexity == pytest.approx(1)
    assert CodeUsage(torch.tensor([7, 7, 7]), 1).perplexity == pytest.approx(3)


def test_evaluations_tell_the_bits_under_both_priors():
    pair, x = Lookup(), torch.randint(4, (100, 2)).float()
    with torch.no_grad():
        pair.logits.copy_(torch.tensor([1.0, 0.0, 2.0, 0.0, 0.0]))
    evaluation = pyvae.evaluate(pair, x, num_particles=1, seed=0)
    bits = -pair.logits.log_softmax(-1)[x.long()].sum(-1).mean() / math.log(2)
    figures = evaluation.figures()
    assert figures["bits_k"] == pytest.approx(float(bits), rel=1e-5)
    assert figures["uniform_bits_k"] == pytest.approx(2 * math.log2(5))
    assert figures["dead_codes_k"] == 1


class Grid(nn.Module):
    """Codes of three pixels in a plate to the left of the data's; some may be masked, drawn globally, or floats."""

    def __init__(self, masked=False, floats=False, everywhere=False):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(5))
        self.masked, self.floats, self.everywhere = masked, floats, everywhere

    def plates(self, x):
        data, pixels = pyro.plate("data", len(x), dim=-1), pyro.plate("pixels", 3, dim=-2)
        return data, pixels, poutine.mask(mask=(x[:, 0] > 0) if self.masked else torch.tensor(True))

    def model(self, x):
        pyro.module("grid", self)
        if self.everywhere:
            pyro.sample("shared", dist.Categorical(logits=self.logits))
        data, pixels, mask = self.plates(x)
        with data, pixels, mask:
            k = pyro.sample("k", dist.Categorical(logits=self.logits))
            pyro.sample("x", dist.Normal(k.float(), 1.0), obs=x.T)

    def guide(self, x):
        if self.everywhere:
            pyro.sample("shared", dist.Categorical(logits=self.logits))
        data, pixels, mask = self.plates(x)
        with data, pixels, mask:
            k = x.T.round().clamp(0, 4)
            pyro.sample("k", dist.Delta(k if self.floats else k.long()))


@pytest.mark.parametrize("arguments", [{}, {"masked": True}, {"floats": True}, {"everywhere": True}], ids=str)
def test_plates_masks_and_kinds_of_numbers(arguments):
    x = 3 * torch.randn(20, 3)
    usage = pyvae.code_usage(Grid(**arguments), x)
    codes = x[x[:, 0] > 0] if arguments.get("masked") else x
    assert list(usage) == ["k"]
    assert usage["k"].places == 3
    assert torch.equal(usage["k"].counts, codes.round().clamp(0, 4).long().flatten().bincount(minlength=5))


def test_what_was_trained_in_the_param_store_counts():
    def guide(x):
        logits = pyro.param("logits", torch.tensor([9.0, 0.0, 0.0, 0.0, 0.0]))
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(logits=logits.expand(2, -1)).to_event(1))

    pair, x = Lookup(), torch.zeros(200, 2)
    pair.guide = guide
    guide(x)
    with torch.no_grad():
        pyro.param("logits").copy_(torch.tensor([0.0, 0.0, 0.0, 9.0, 0.0]))
    assert pyvae.code_usage(pair, x)["k"].counts.argmax() == 3


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: pyvae.code_usage(Lookup(), torch.zeros(5, 2), seed=-1), pyvae.ArgumentError, "seed"),
        (lambda: pyvae.code_usage(Lookup(), torch.zeros(0, 2)), pyvae.DataError, "at least one row"),
        (lambda: pyvae.code_usage(Lookup(4), torch.full((5, 2), 7.0)), pyvae.PyvaeError, "0 to 3|support"),
    ],
)
def test_bad_input(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_pairs_without_codes_have_no_usage():
    vae = pyvae.recipes.gaussian(shape=(4,), latent_dim=2, hidden=[8])
    x = torch.rand(20, 4).round()
    with pytest.raises(pyvae.PairError, match="VAE has no latent site of integers"):
        pyvae.code_usage(vae, x)
    assert pyvae.evaluate(vae, x, num_particles=2).codes == {}


def vqvae():
    return pyvae.VQVAE(
        prior=priors.FactorizedCodes((4,), num_codes=6),
        likelihood=likelihoods.Normal(nn.Sequential(nn.Flatten(-2), nn.Linear(12, 5)), event_shape=5),
        encoder=nn.Sequential(nn.Linear(5, 12), nn.Unflatten(-1, (3, 4))),
        quantizer=quantizers.VectorQuantizer(num_codes=6, dim=3, decay=0.9, revive_below=0.5),
    )


@pytest.mark.parametrize("validated", [False, True])
def test_fit_logs_the_use_after_every_epoch(validated):
    pair, x, held_out = vqvae(), torch.randn(64, 5), torch.randn(32, 5)
    result = pyvae.fit(
        pair,
        x,
        epochs=2,
        batch_size=16,
        seed=0,
        progress=False,
        validation=held_out if validated else None,
        patience=None,
    )
    split, data = ("validation", held_out) if validated else ("train", x)
    best = result.history[result.best_epoch - 1] if validated else result.history[-1]
    usage = pyvae.code_usage(pair, data)["k"]
    assert best[f"{split}_perplexity_k"] == pytest.approx(usage.perplexity)
    assert best[f"{split}_usage_k"] == usage.usage
    assert best[f"{split}_dead_codes_k"] == usage.dead
    assert torch.equal(usage.counts, pair.encode(data).flatten().bincount(minlength=6))


def test_counting_leaves_codebooks_modes_and_streams_alone():
    pair = vqvae().train()
    before = {n: t.clone() for n, t in pair.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.randn(3)
    torch.manual_seed(3)
    pyvae.code_usage(pair, torch.randn(50, 5, generator=torch.Generator().manual_seed(0)), seed=0)
    assert torch.equal(torch.randn(3), expected)
    assert pair.training
    assert all(torch.equal(t, before[n]) for n, t in pair.state_dict().items())
