"""Pairs, and their losses written by hand."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn

import pyvae
from pyvae import guides, likelihoods, priors
from tests.clients.hierarchies import DIM

NAMES = ("z_1", "z_2", "z_3")


def mixture():
    """A prior to which no KL has a closed form."""
    likelihood = likelihoods.Normal(nn.Linear(2, DIM), DIM)
    return pyvae.VAE(priors.NormalMixture(2, 3), likelihood, guides.DiagonalNormal(nn.Linear(DIM, 4), 2))


class Plain(nn.Module):
    """One latent; the plate may be of more data than are given."""

    latent = "z"

    def __init__(self, size=None):
        super().__init__()
        self.size, self.A, self.B = size, nn.Parameter(torch.randn(2, DIM)), nn.Parameter(torch.randn(DIM, 2) / 4)

    def plate(self, x):
        return pyro.plate("data", self.size or len(x), subsample=x)

    def model(self, x):
        with self.plate(x):
            z = pyro.sample(self.latent, dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.A, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with self.plate(x):
            pyro.sample(self.latent, dist.Normal(x @ self.B, 0.5).to_event(1))


class Bits(Plain):
    def model(self, x):
        with self.plate(x):
            z = pyro.sample("bits", dist.Bernoulli(torch.full((2,), 0.5)).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.A, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with self.plate(x):
            pyro.sample("bits", dist.Bernoulli(logits=x @ self.B).to_event(1))


def normal_kl(q, p):
    q, p = q.base_dist, p.base_dist
    return ((p.scale / q.scale).log() + (q.scale**2 + (q.loc - p.loc) ** 2) / (2 * p.scale**2) - 0.5).sum(-1)


def by_hand(pair, x, loss, closed):
    """Loss and gradients of ``loss(reconstruction, terms)``, of sums over the data, in closed form or by the draw."""
    pair.zero_grad()
    pyro.set_rng_seed(0)
    guide = poutine.trace(pair.guide).get_trace(x)
    model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(x)
    terms = {}
    for name in [n for n in NAMES if n in guide.nodes] or ["z"]:
        q, p, z = guide.nodes[name]["fn"], model.nodes[name]["fn"], guide.nodes[name]["value"]
        terms[name] = (normal_kl(q, p) if closed else q.log_prob(z) - p.log_prob(z)).sum()
    value = loss(model.nodes["x"]["fn"].log_prob(x).sum(), terms)
    value.backward()
    return value.detach(), {n: p.grad for n, p in pair.named_parameters()}
