"""Importance weights whose law is known, from easy to hopeless, and the expectation of their bound by quadrature."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

#: probabilities up to one half, finer towards zero; tails decide
_EDGES = np.concatenate([[0], np.logspace(-18, math.log10(0.5), 1500)])


@dataclass(frozen=True)
class Weights:
    """Log weights as a monotone function of one variable of known quantiles, so that expectations are integrals."""

    sample: Callable[[tuple[int, ...]], Tensor]
    log_weight: Callable[[Tensor], Tensor]
    quantile: Callable[[np.ndarray], np.ndarray]
    upper: Callable[[np.ndarray], np.ndarray]

    def draw(self, *shape: int) -> Tensor:
        return self.log_weight(self.sample(shape))

    def bound(self, count: int) -> float:
        """E log (1/K) Σ w_k by Frullani's integral, E log X = ∫ (e^−t − E e^−tX) dt / t, with t = e^u."""
        middle, mass = (_EDGES[1:] + _EDGES[:-1]) / 2, torch.from_numpy(np.tile(np.diff(_EDGES), 2))
        log_w = self.log_weight(torch.from_numpy(np.concatenate([self.quantile(middle), self.upper(middle)])))
        lowest = float(log_w[mass > 1e-14].min())
        grid = torch.arange(-float(log_w.max()) - 40, math.log(count) - lowest + 10, 0.1, dtype=torch.float64)
        laplace = torch.stack([(mass * torch.expm1(-torch.exp(u - math.log(count) + log_w))).sum() for u in grid])
        powers = torch.exp(count * torch.log1p(laplace.clamp(min=-1)))
        return float((torch.exp(-torch.exp(grid)) - powers).sum() * 0.1)


def scaled(dimensions: int, scale: float) -> Weights:
    """Posterior N(0, I), guide N(0, scale² I): log w = d log scale + ½ (1 − scale²) r, r chi-squared of d."""
    law, half = stats.chi2(dimensions), dimensions / 2
    return Weights(
        lambda shape: 2 * torch._standard_gamma(torch.full(shape, half, dtype=torch.float64)),
        lambda r: dimensions * math.log(scale) + 0.5 * (1 - scale**2) * r,
        law.ppf,
        law.isf,
    )


def shifted(dimensions: int, shift: float) -> Weights:
    """Posterior N(0, I), guide N(shift, I): log w ~ N(−½ d shift², d shift²)."""
    spread = math.sqrt(dimensions) * shift
    return Weights(
        lambda shape: torch.randn(shape, dtype=torch.float64),
        lambda z: -0.5 * spread**2 + spread * z,
        stats.norm.ppf,
        stats.norm.isf,
    )


def pareto(shape: float) -> Weights:
    """w = u^−shape, with u uniform: of infinite variance from ½, without a mean from 1."""
    return Weights(
        lambda size: torch.rand(size, dtype=torch.float64),
        lambda u: -shape * u.log(),
        stats.uniform.ppf,
        stats.uniform.isf,
    )


@dataclass(frozen=True)
class Missed:
    """Almost all weights are one; with probability ``mass`` the guide hits a mode, where they are ``size``."""

    mass: float
    size: float

    def draw(self, *shape: int) -> Tensor:
        return torch.where(torch.rand(shape) < self.mass, math.log(self.size), 0.0).double()

    def bound(self, count: int) -> float:
        """The sum over how many of the K draws hit."""
        hits = np.arange(count + 1)
        return float(stats.binom(count, self.mass).pmf(hits) @ np.log1p(hits * (self.size - 1) / count))
