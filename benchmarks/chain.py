"""A Markov chain of latent vectors with Bernoulli pixels at its end: as a Pyro pair, and by hand."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["DIMENSIONS", "PIXELS", "Chain", "ChainByHand"]

PIXELS = 784
DIMENSIONS = 32
HIDDEN = 64


def _perceptron(fan_in: int, fan_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(fan_in, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, fan_out))


def _normal(parameters: Tensor) -> dist.Distribution:
    loc, log_variance = parameters.chunk(2, -1)
    return dist.Normal(loc, (log_variance / 2).exp()).to_event(1)


class Chain(nn.Module):
    """p(z_1) Π_t p(z_{t+1} | z_t) p(x | z_T), approximated by q(z_T | x) Π_t q(z_t | z_{t+1}).

    p(z_1) = N(0, I); all other conditionals of z are diagonal normals, each with a perceptron of its own.

    Args:
        length: T.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.transitions = nn.ModuleList(_perceptron(DIMENSIONS, 2 * DIMENSIONS) for _ in range(length - 1))
        self.decoder = _perceptron(DIMENSIONS, PIXELS)
        self.encoder = _perceptron(PIXELS, 2 * DIMENSIONS)
        self.inversions = nn.ModuleList(_perceptron(DIMENSIONS, 2 * DIMENSIONS) for _ in range(length - 1))

    def model(self, x: Tensor) -> None:
        """The chain from z_1 to x."""
        pyro.module("chain", self)
        with pyro.plate("data", len(x), dim=-1):
            loc = x.new_zeros(len(x), DIMENSIONS)
            z = pyro.sample("z_1", dist.Normal(loc, torch.ones_like(loc)).to_event(1))
            for t, network in enumerate(self.transitions, 2):
                z = pyro.sample(f"z_{t}", _normal(network(z)))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """The chain from x to z_1."""
        pyro.module("chain", self)
        last = len(self.inversions) + 1
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample(f"z_{last}", _normal(self.encoder(x)))
            for t in range(last - 1, 0, -1):
                z = pyro.sample(f"z_{t}", _normal(self.inversions[t - 1](z)))


def _log_density(z: Tensor, parameters: Tensor) -> Tensor:
    """log N(z; μ, σ²) of a batch, without the constants, which cancel between model and guide."""
    loc, log_variance = parameters.chunk(2, -1)
    return -((z - loc).square() * (-log_variance).exp() + log_variance).sum() / 2


def _draw(parameters: Tensor) -> Tensor:
    loc, log_variance = parameters.chunk(2, -1)
    return loc + (log_variance / 2).exp() * torch.randn_like(loc)


class ChainByHand(nn.Module):
    """Maps a batch to an estimate of the mean of −ELBO(x) = E_q[log q(z_1, …, z_T | x) − log p(x, z_1, …, z_T)].

    Args:
        chain: whose networks it uses.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.chain = chain

    def forward(self, x: Tensor) -> Tensor:
        """The estimate from one draw of the chain per datapoint."""
        parameters = self.chain.encoder(x)
        z = last = _draw(parameters)
        total = F.binary_cross_entropy_with_logits(self.chain.decoder(last), x, reduction="sum")
        total = total + _log_density(z, parameters)
        for inversion, transition in zip(
            reversed(self.chain.inversions), reversed(self.chain.transitions), strict=True
        ):
            parameters, later = inversion(z), z
            z = _draw(parameters)
            total = total + _log_density(z, parameters) - _log_density(later, transition(z))
        return (total + z.square().sum() / 2) / len(x)
