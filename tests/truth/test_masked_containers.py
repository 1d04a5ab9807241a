"""What is masked or missing is NaN in every group for ArviZ, and counts nowhere in the use of codes."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

import pyvae
from pyvae.distributions import PartiallyObserved
from tests.truth.obs_masks import ObsMasked

N, T, K = 11, 4, 5
MASK = torch.arange(T) < torch.tensor([4, 1, 3, 0, 4, 2, 4, 1, 1, 2, 3])[:, None]


class Steps(nn.Module):
    """A latent and an observation for each step, under ``around`` in both programs."""

    takes_missing = True

    def __init__(self, how):
        super().__init__()
        self.how, self.shift = how, nn.Parameter(torch.zeros(()))

    def draw(self, name, fn, mask, **obs):
        if self.how == "plates":
            with pyro.plate(f"time of {name}", T, dim=-1), poutine.mask(mask=mask):
                return pyro.sample(name, fn, **obs)
        fn = {"before": lambda: fn.mask(mask).to_event(1), "gaps": lambda: PartiallyObserved(fn).to_event(1)}[
            "gaps" if self.how == "gaps" and obs else "before"
        ]()
        return pyro.sample(name, fn, **obs)

    def plate(self, x):
        return pyro.plate("data", len(x), dim=-2 if self.how == "plates" else -1)

    def model(self, x, mask):
        with self.plate(x):
            z = self.draw("z", dist.Normal(torch.zeros(x.shape), 1.0), mask)
            self.draw("x", dist.Normal(z, 1.0), mask, obs=x)

    def guide(self, x, mask):
        with self.plate(x):
            self.draw("z", dist.Normal(x.nan_to_num() / 2 + self.shift, 0.5**0.5), mask)


@pytest.mark.parametrize("how", ["plates", "before", "gaps"])
def test_what_does_not_count_is_nan_in_every_group(how):
    x = torch.randn(N, T).masked_fill(~MASK, torch.nan if how == "gaps" else 7.0)
    tree = pyvae.to_inference_data(Steps(how), (x, MASK), num_samples=30, predictive=(5, N), seed=0)
    for group, name in (
        ("posterior", "z"),
        ("prior", "z"),
        ("posterior_predictive", "x"),
        ("prior_predictive", "x"),
        ("observed_data", "x"),
    ):
        values = tree[group][name].values
        assert np.array_equal(np.isnan(values), np.broadcast_to(~MASK.numpy(), values.shape)), group
    assert np.array_equal(tree.observed_data["x"].values[MASK.numpy()], x.numpy()[MASK.numpy()])
    log_p = dist.Normal(0.0, 2**0.5).log_prob(x[MASK]).sum()
    assert tree.figures.attrs["elbo"] == pytest.approx(float(log_p) / N, rel=1e-5)
    assert tree.figures.attrs["bits_per_dimension"] == pytest.approx(float(-log_p / MASK.sum() / math.log(2)), rel=1e-5)


def test_of_a_site_with_an_obs_mask_each_part_has_its_own():
    class Split(ObsMasked, Steps):
        def guide(self, x, mask):
            with pyro.plate("data", len(x), dim=-2):
                count = mask.sum(-1, keepdim=True)
                z = pyro.sample("z", dist.Normal((x * mask).sum(-1, keepdim=True) / (1 + count), (1 + count) ** -0.5))
                with pyro.plate("time", T, dim=-1), poutine.mask(mask=~mask):
                    pyro.sample("x_unobserved", dist.Normal(z, 1.0))

    x = torch.randn(N, T)
    tree = pyvae.to_inference_data(Split("plates"), (x, MASK), num_samples=30, predictive=(5, N), seed=0)
    for group, name, elements in (
        ("posterior", "x_unobserved", ~MASK),
        ("observed_data", "x_observed", MASK),
        ("prior_predictive", "x_observed", MASK),
    ):
        values = tree[group][name].values
        assert np.array_equal(~np.isnan(values), np.broadcast_to(elements.numpy(), values.shape)), group


class Codes(nn.Module):
    """A code for each step, of which those of padding are out of range."""

    def __init__(self, how):
        super().__init__()
        self.how, self.logits = how, nn.Parameter(torch.arange(float(K)))

    def draw(self, fn, mask):
        if self.how == "plates":
            with pyro.plate("time", T, dim=-1), poutine.mask(mask=mask):
                return pyro.sample("k", fn)
        if self.how == "rows":
            with poutine.mask(mask=mask.all(1)):
                return pyro.sample("k", fn.to_event(1))
        return pyro.sample("k", fn.mask(mask).to_event(1))

    def model(self, x, mask):
        with pyro.plate("data", len(x), dim=-2 if self.how == "plates" else -1):
            k = self.draw(dist.Categorical(logits=self.logits.expand(len(x), T, K), validate_args=False), mask)
            seen = dist.Normal(k.double(), 1.0)
            if self.how == "plates":
                with pyro.plate("time again", T, dim=-1), poutine.mask(mask=mask):
                    pyro.sample("x", seen, obs=x)
            else:
                pyro.sample("x", seen.mask(mask).to_event(1), obs=x)

    def guide(self, x, mask):
        with pyro.plate("data", len(x), dim=-2 if self.how == "plates" else -1):
            self.draw(dist.Delta(x.long()), mask)


@pytest.mark.parametrize("how", ["plates", "rows", "before"])
def test_masked_codes_are_no_codes(how):
    mask = MASK.all(1, keepdim=True).expand(N, T) if how == "rows" else MASK
    x = torch.where(mask, torch.randint(K - 1, (N, T)), 0).double()
    usage = pyvae.code_usage(Codes(how), (x, mask))["k"]
    assert torch.equal(usage.counts, x[mask].long().bincount(minlength=K))
    assert (usage.places, usage.share) == (T, int(mask.sum()) / mask.numel())
    assert usage.uniform_bits == pytest.approx(int(mask.sum()) / N * math.log2(K))
    section = pyvae.diagnose(Codes(how), (x, mask), 25, 0, [pyvae.diagnostics.sections.codebooks], progress=False)
    bits = -torch.arange(float(K)).log_softmax(0)[x[mask].long()].sum() / N / math.log(2)
    assert section["bits of k"].value == pytest.approx(float(bits), rel=1e-5)
    tree = pyvae.to_inference_data(Codes(how), (x, mask), num_samples=2, predictive=None, seed=0)
    values = tree.posterior["k"].values
    assert values.dtype == np.float64
    assert np.array_equal(np.isnan(values), np.broadcast_to(~mask.numpy(), values.shape))


def test_padding_that_is_no_code_has_no_density():
    class Unchecked(Codes):
        def guide(self, x, mask):
            with pyro.plate("data", len(x)):
                self.draw(dist.Delta(torch.where(mask, x.long(), -1)), mask)

        def model(self, x, mask):
            with pyro.plate("data", len(x)):
                p = dist.Categorical(logits=self.logits.expand(len(x), T, K), validate_args=False)
                k = self.draw(p, mask)
                pyro.sample("x", dist.Normal(k.double(), 1.0).mask(mask).to_event(1), obs=x)

    x = torch.randint(K, (N, T)).double()
    with pytest.raises(pyvae.PairError, match="a density cannot be computed"):
        pyvae.code_usage(Unchecked("before"), (x, MASK))
