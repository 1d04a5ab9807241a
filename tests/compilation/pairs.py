"""Pairs as their users write them; each has one plate and takes x of shape (rows, 4)."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule, PyroParam
from torch import nn
from torch.distributions import constraints

from pyvae import VAE, guides, likelihoods, priors

WIDTH, LATENTS = 4, 2


class ByHand(nn.Module):
    """z ~ N(0, I), x ~ N(decode(z), I); q(z | x) = N(μ(x), diag σ(x)²). What subclasses change is a method each."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(WIDTH, 2 * LATENTS), nn.Linear(LATENTS, WIDTH)

    def encode(self, x):
        return self.encoder(x)

    def decode(self, z):
        return self.decoder(z)

    def scale(self):
        return 1.0

    def plate(self, x):
        return pyro.plate("data", len(x))

    def model(self, x):
        with self.plate(x), poutine.scale(scale=self.scale()):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decode(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with self.plate(x), poutine.scale(scale=self.scale()):
            loc, log_scale = self.encode(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Layers(ByHand):
    """Batch statistics and dropout in both networks."""

    def __init__(self):
        super().__init__()
        # without a bias before the batch statistics: its gradient is rounding alone, of which Adam makes full steps
        first = nn.Linear(WIDTH, 8, bias=False)
        self.encoder = nn.Sequential(first, nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2 * LATENTS))
        self.decoder = nn.Sequential(nn.Linear(LATENTS, 8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, WIDTH))


class Subsampled(ByHand):
    def plate(self, x):
        return pyro.plate("data", 1000, subsample=x)


class Annealed(ByHand):
    """A weight that grows in a buffer, by each run of the guide."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor(0.1))

    def scale(self):
        return self.weight

    def guide(self, x):
        self.weight.mul_(1.5).clamp_(max=1.0)
        super().guide(x)


class Chain(ByHand):
    """z₁ → z₂ → x, inferred as q(z₂ | x) q(z₁ | z₂)."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(LATENTS, 2 * LATENTS), nn.Linear(LATENTS, LATENTS)

    def model(self, x):
        with self.plate(x):
            first = pyro.sample("z1", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            second = pyro.sample("z2", dist.Normal(self.down(first), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decode(second), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with self.plate(x):
            loc, log_scale = self.encode(x).chunk(2, -1)
            second = pyro.sample("z2", dist.Normal(loc, log_scale.exp()).to_event(1))
            loc, log_scale = self.up(second).chunk(2, -1)
            pyro.sample("z1", dist.Normal(loc, log_scale.exp()).to_event(1))


class Discrete(ByHand):
    """Bits as latents, whose gradients take the score function."""

    infer = None

    def model(self, x):
        with self.plate(x):
            z = pyro.sample("z", dist.Bernoulli(torch.full((LATENTS,), 0.5)).to_event(1))
            pyro.sample("x", dist.Normal(self.decode(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with self.plate(x):
            logits = self.encode(x)[..., :LATENTS]
            pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1), infer=self.infer)


class Classes(ByHand):
    """A class as the latent, which Pyro can also sum over."""

    infer = None

    def model(self, x):
        with self.plate(x):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7])))
            pyro.sample("x", dist.Normal(self.decoder.weight.T[k], 1.0).to_event(1), obs=x)

    def guide(self, x):
        with self.plate(x):
            pyro.sample("k", dist.Categorical(logits=self.encode(x)[..., :2]), infer=self.infer)


class Registered(PyroModule):
    """Parameters that Pyro holds, one of them under a constraint."""

    def __init__(self):
        super().__init__()
        self.encoder = PyroModule[nn.Linear](WIDTH, LATENTS)
        self.decoder = PyroModule[nn.Linear](LATENTS, WIDTH)
        self.spread = PyroParam(torch.full((LATENTS,), 0.5), constraint=constraints.positive)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(LATENTS), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), self.spread).to_event(1))


def vae(prior=priors.StandardNormal):
    """A pair of the library, with a parameter besides the networks: a learned scale."""
    return VAE(
        prior(LATENTS),
        likelihoods.Normal(nn.Linear(LATENTS, WIDTH), WIDTH, learn_scale=True),
        guides.DiagonalNormal(nn.Sequential(nn.Linear(WIDTH, 8), nn.Softplus(), nn.Linear(8, 2 * LATENTS)), LATENTS),
    )


PAIRS = [ByHand, Layers, Subsampled, Annealed, Chain, Registered, vae]
