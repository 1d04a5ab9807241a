"""Pyro's tutorials on counts, small and in our words: genes, words, and deep exponential families."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import nn
from torch.nn.functional import one_hot, softmax, softplus

from .pyro_examples import C, D, N


class AnnotatedCounts(nn.Module):
    """``scanvi``: counts of genes; everything is scaled, and the guide has a factor that classifies."""

    def __init__(self):
        super().__init__()
        self.prior, self.decode, self.encode = nn.Linear(C, 4), nn.Linear(2, D), nn.Linear(D, 4)
        self.classify, self.log_theta = nn.Linear(2, C), nn.Parameter(torch.zeros(D))

    def model(self, x, y):
        pyro.module("scanvi", self)
        with pyro.plate("batch", len(x)), poutine.scale(scale=1 / 100):
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(C)), obs=y)
            loc, scale = self.prior(y).chunk(2, -1)
            z = pyro.sample("z1", dist.Normal(loc, softplus(scale)).to_event(1))
            size = pyro.sample("l", dist.LogNormal(3.0, x.new_ones(1)).to_event(1))
            logits = (size * softmax(self.decode(z), -1) + 1e-6).log() - self.log_theta
            pyro.sample("x", dist.NegativeBinomial(self.log_theta.exp(), logits=logits).to_event(1), obs=x)

    def guide(self, x, y):
        loc, scale = self.encode(torch.log1p(x)).chunk(2, -1)
        with pyro.plate("batch", len(x)), poutine.scale(scale=1 / 100):
            z = pyro.sample("z1", dist.Normal(loc, softplus(scale)).to_event(1))
            pyro.sample("l", dist.LogNormal(loc[..., :1], 0.5).to_event(1))
            log_q = dist.OneHotCategorical(logits=self.classify(z)).log_prob(y)
            pyro.factor("classification_loss", -0.1 * log_q, has_rsample=False)

    def data(self):
        return torch.poisson(5 * torch.rand(N, D)), one_hot(torch.randint(C, (N,)), C).float()


class Topics(nn.Module):
    """``prodlda``: topics by a softmax of normal latents, and the words of a document as a multinomial."""

    def __init__(self):
        super().__init__()
        self.decode, self.encode = nn.Linear(C, D, bias=False), nn.Linear(D, 2 * C)

    def model(self, docs):
        pyro.module("decoder", self.decode)
        with pyro.plate("documents", docs.shape[0]):
            theta = pyro.sample("logtheta", dist.Normal(docs.new_zeros(len(docs), C), 1.0).to_event(1))
            probs = softmax(self.decode(softmax(theta, -1)), -1)
            pyro.sample("obs", dist.Multinomial(int(docs.sum(-1).max()), probs), obs=docs)

    def guide(self, docs):
        pyro.module("encoder", self.encode)
        with pyro.plate("documents", docs.shape[0]):
            loc, scale = self.encode(docs).chunk(2, -1)
            pyro.sample("logtheta", dist.Normal(loc, (0.5 * scale).exp()).to_event(1))

    def data(self):
        return dist.Multinomial(20, torch.ones(D)).sample((N,))


class SparseGamma(nn.Module):
    """``sparse_gamma_def``: gamma latents of each datapoint, and of all; the guide's parameters by ``pyro.param``."""

    def model(self, x):
        with pyro.plate("weights", 3 * D):
            w = pyro.sample("w", dist.Gamma(0.1, 0.3))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Gamma(0.1 * x.new_ones(3), 0.1).to_event(1))
            pyro.sample("obs", dist.Poisson(z @ w.reshape(3, D) + 1e-3).to_event(1), obs=x)

    def guide(self, x):
        rate = pyro.param("rate", torch.ones(3 * D), constraint=dist.constraints.positive)
        z_rate = pyro.param("z_rate", torch.ones(3), constraint=dist.constraints.positive)
        with pyro.plate("weights", 3 * D):
            pyro.sample("w", dist.Gamma(1.0, rate))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Gamma(1.0, z_rate).expand([len(x), 3]).to_event(1))

    def data(self):
        return torch.poisson(3 * torch.rand(N, D))
