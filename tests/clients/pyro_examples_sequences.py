"""Pyro's examples of sequences, small and in our words: continuous and discrete chains."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from torch import nn
from torch.nn.functional import softplus

from .pyro_examples import C, D, N


class DeepMarkov(nn.Module):
    """``dmm``: a Markov chain of latents; padded steps are masked, and the latents scaled by an annealing factor."""

    steps, annealing = 3, 0.2

    def __init__(self):
        super().__init__()
        self.transition, self.emit, self.combine = nn.Linear(2, 4), nn.Linear(2, D), nn.Linear(2 + D, 4)

    def model(self, x, mask):
        pyro.module("dmm", self)
        z = x.new_zeros(len(x), 2)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(self.steps)):
                loc, scale = self.transition(z).chunk(2, -1)
                step = mask[:, t : t + 1]
                with poutine.scale(scale=self.annealing):
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, softplus(scale)).mask(step).to_event(1))
                pyro.sample(f"obs_{t}", dist.Bernoulli(logits=self.emit(z)).mask(step).to_event(1), obs=x[:, t])

    def guide(self, x, mask):
        z = x.new_zeros(len(x), 2)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(self.steps)):
                loc, scale = self.combine(torch.cat([z, x[:, t].expand(*z.shape[:-1], D)], -1)).chunk(2, -1)
                with poutine.scale(scale=self.annealing):
                    q = dist.Normal(loc, softplus(scale)).mask(mask[:, t : t + 1]).to_event(1)
                    z = pyro.sample(f"z_{t}", q)

    def data(self):
        lengths = torch.randint(1, self.steps + 1, (N,))
        return torch.rand(N, self.steps, D).round(), torch.arange(self.steps) < lengths[:, None]


class HiddenMarkov(nn.Module):
    """``hmm``: sequences of notes under a chain of hidden states that the model sums out; padded steps are masked."""

    steps = 4

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(C, C)), nn.Parameter(torch.randn(C, D))

    @config_enumerate
    def model(self, x, mask):
        h = 0
        with pyro.plate("sequences", len(x)):
            for t in pyro.markov(range(self.steps)):
                with poutine.mask(mask=mask[:, t]):
                    h = pyro.sample(f"x_{t}", dist.Categorical(logits=self.a[h]))
                    pyro.sample(f"y_{t}", dist.Bernoulli(logits=self.b[h]).to_event(1), obs=x[:, t])

    def guide(self, x, mask):
        pass

    def data(self):
        lengths = torch.randint(1, self.steps + 1, (N,))
        return torch.rand(N, self.steps, D).round(), torch.arange(self.steps) < lengths[:, None]
