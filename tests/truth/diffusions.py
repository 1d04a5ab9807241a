"""Diffusions with a closed form, and the terms of their ELBO as the papers write them, from betas alone."""

import numpy as np
import pyro.distributions as dist
import torch
from scipy.stats import norm
from torch import nn
from torch.distributions import kl_divergence

import pyvae
from pyvae import networks

PREDICTIONS, VARIANCES, LEVELS = ("noise", "data", "velocity"), ("posterior", "forward", "learned"), (None, 17)


class Betas(nn.Module):
    """The schedule of these betas, float64."""

    def __init__(self, betas):
        super().__init__()
        self.register_buffer("betas", torch.as_tensor(betas, dtype=torch.float64))

    def forward(self):
        bar = (1 - self.betas).cumprod(0)
        return (bar / (1 - bar)).log()


class Exact(nn.Module):
    """E[x_0 | x_t] for x_0 ~ N(0, s²), and where the variance of x_{t−1} given x_t lies between β̃_t and β_t."""

    def __init__(self, scale, betas, prediction, learned=True):
        super().__init__()
        self.variance, self.prediction, self.learned = scale.double() ** 2, prediction, learned
        self.betas = torch.as_tensor(betas, dtype=torch.float64)

    def forward(self, x, t):
        bars = torch.cat([torch.ones(1, dtype=torch.float64), (1 - self.betas).cumprod(0)])
        beta, bar, before = (v[:, None] for v in (self.betas[t], bars[t + 1], bars[t]))
        total = bar * self.variance + 1 - bar  # of x_t
        x_0 = bar.sqrt() * self.variance / total * x
        noise = (x - bar.sqrt() * x_0) / (1 - bar).sqrt()
        velocity = bar.sqrt() * noise - (1 - bar).sqrt() * x_0
        output = {"noise": noise, "data": x_0, "velocity": velocity}[self.prediction]
        if not self.learned:
            return output
        reverse = beta * (before * self.variance + 1 - before) / total  # β_t Var(x_{t−1}) / Var(x_t)
        smaller = beta * (1 - before) / (1 - bar)
        if len(self.betas) > 1:
            second = self.betas[1] * self.betas[0] / (1 - bars[2])
            smaller = torch.where(t[:, None] == 0, second, smaller)
        spread = 2 * (reverse / smaller).log() / (beta / smaller).log() - 1
        return torch.cat([output, spread.nan_to_num(1.0).expand_as(output)], -1)


def arbitrary(prediction="noise", variance="posterior", levels=None, schedule=None, betas=None, dim=2):
    """A diffusion of vectors with random weights, float64."""
    network = networks.TimeMLP(dim, dim * (1 + (variance == "learned")), hidden=[6], time_dim=8)
    schedule = schedule or Betas(some_betas() if betas is None else betas)
    return pyvae.DiffusionVAE(network.double(), dim, schedule.double(), prediction, variance, levels)


def some_betas(steps=10):
    return torch.linspace(0.05, 0.5, steps, dtype=torch.float64)


def some_data(levels, count=6, dim=2):
    x = torch.randn(count, dim, dtype=torch.float64)
    return x if levels is None else (levels * x.sigmoid()).floor() / (levels - 1)


class Textbook:
    """L_T, L_{t−1} and L_0 of Ho, Jain and Abbeel (2020), of one draw of x_t for each datapoint."""

    def __init__(self, pair, betas):
        self.pair = pair
        self.beta = torch.cat([torch.zeros(1), betas]).double()
        self.bar = (1 - self.beta).cumprod(0)

    def noised(self, x_0, t, noise):
        return self.bar[t].sqrt() * x_0 + (1 - self.bar[t]).sqrt() * noise

    def prior(self, x_0):
        """L_T."""
        mean, variance = self.bar[-1].sqrt() * x_0, 1 - self.bar[-1]
        return 0.5 * (mean**2 + variance - 1 - variance.log()).sum(-1)

    def noise_guess(self, x_t, t):
        """ε̂, and what else the network says."""
        bar, prediction = self.bar[t], self.pair.prediction
        output = self.pair.network(x_t, torch.full(x_t.shape[:1], t - 1))
        output, rest = output[..., : x_t.shape[-1]], output[..., x_t.shape[-1] :]
        if prediction == "velocity":
            output, prediction = bar.sqrt() * x_t - (1 - bar).sqrt() * output, "data"
        return (x_t - bar.sqrt() * output) / (1 - bar).sqrt() if prediction == "data" else output, rest

    def reverse(self, x_t, t):
        """Equation 11, and equation 15 of Nichol and Dhariwal (2021)."""
        noise, rest = self.noise_guess(x_t, t)
        mean = (x_t - self.beta[t] / (1 - self.bar[t]).sqrt() * noise) / (1 - self.beta[t]).sqrt()
        late = max(t, 2)  # at t = 1 the posterior has no variance
        posterior = self.beta[1]
        if len(self.beta) > 2:
            posterior = (1 - self.bar[late - 1]) / (1 - self.bar[late]) * self.beta[late]
        share = {"posterior": 0.0, "forward": 1.0, "learned": (rest + 1) / 2}[self.pair.variance]
        variance = (share * self.beta[t].log() + (1 - share) * posterior.log()).exp()
        return mean, variance.expand_as(mean)

    def term(self, x, x_t, t):
        """L_{t−1}: of the data x, in their own units."""
        x_0 = x if self.pair.levels is None else 2 * x - 1
        mean, variance = self.reverse(x_t, t)
        if t == 1 and self.pair.levels:
            return -discretized(x_0, mean.detach(), variance.sqrt().detach(), self.pair.levels).sum(-1)
        p = dist.Normal(mean, variance.sqrt())
        if t == 1:
            return -p.log_prob(x_0).sum(-1)
        beta, bar, before = self.beta[t], self.bar[t], self.bar[t - 1]
        mean = (before.sqrt() * beta * x_0 + (1 - beta).sqrt() * (1 - before) * x_t) / (1 - bar)
        return kl_divergence(dist.Normal(mean, ((1 - before) / (1 - bar) * beta).sqrt()), p).sum(-1)

    def elbo(self, x, draws):
        """−(L_T + Σ_t L_{t−1}) of the data on average, and its standard error."""
        x = x.repeat(draws, 1)
        x_0 = x if self.pair.levels is None else 2 * x - 1
        steps = range(1, len(self.beta))
        with torch.no_grad():
            terms = [self.term(x, self.noised(x_0, t, torch.randn_like(x)), t) for t in steps]
            total = -(sum(terms) + self.prior(x_0)).reshape(draws, -1).mean(1)
        return float(total.mean()), float(total.std() / draws**0.5)


def discretized(x, mean, scale, levels):
    """Equation 13: log probabilities of data on a grid in [−1, 1], by scipy."""
    x, mean, scale = (np.asarray(v) for v in (x, mean, scale))
    half = 1 / (levels - 1)
    low = np.where(x < -1 + half, -np.inf, (x - half - mean) / scale)
    high = np.where(x > 1 - half, np.inf, (x + half - mean) / scale)
    upper = low > 0  # both ends in the upper tail
    mass = np.where(upper, norm.cdf(-low) - norm.cdf(-high), norm.cdf(high) - norm.cdf(low))
    with np.errstate(divide="ignore"):
        return torch.as_tensor(np.log(mass))


class ForwardGuided(nn.Module):
    """The chain with the guide that draws x_1 first."""

    def __init__(self, chain):
        super().__init__()
        self.chain = chain
        self.model, self.guide = chain.model, chain.forward_guide
