"""Linear-Gaussian chains z_1 → … → z_T → x, in closed form: independent dimensions, each with its own coefficients.

A program is a list of steps (gains, offset, variance): variable i is N(Σ_j gains[j] v_j + offset, variance), given
the variables j before it. Coefficients have shape (D,); offsets may depend on the datapoint, (N, D).
"""

from dataclasses import dataclass

import torch
from torch.distributions import MultivariateNormal, Normal


def joint(program):
    """Mean (…, D, n) and covariance (D, n, n) of the variables of a program, in its order."""
    mean, covariance = [], {}
    for i, (gains, offset, variance) in enumerate(program):
        mean.append(offset + sum(gain * mean[j] for j, gain in gains.items()))
        for k in range(i):
            start = torch.zeros_like(variance)
            covariance[i, k] = covariance[k, i] = sum((gain * covariance[j, k] for j, gain in gains.items()), start)
        covariance[i, i] = variance + sum(gain * covariance[i, j] for j, gain in gains.items())
    every = range(len(program))
    rows = [torch.stack([covariance[i, k] for k in every], -1) for i in every]
    return torch.stack(torch.broadcast_tensors(*mean), -1), torch.stack(rows, -2)


@dataclass
class Chain:
    """z_1 ~ N(0, 1), z_{t+1} | z_t ~ N(a_t z_t, s_t²), x | z_T ~ N(b z_T, r²)."""

    a: torch.Tensor  # (T − 1, D)
    s: torch.Tensor  # (T − 1, D)
    b: torch.Tensor  # (D,)
    r: float

    @property
    def depth(self):
        return 1 + len(self.a)

    @property
    def program(self):
        """The steps of z_1 … z_T and x."""
        one = torch.ones_like(self.b)
        middle = [({t: a}, 0 * one, s**2) for t, (a, s) in enumerate(zip(self.a, self.s, strict=True))]
        return [({}, 0 * one, one), *middle, ({self.depth - 1: self.b}, 0 * one, self.r**2 * one)]

    def log_marginal(self, x):
        """log p(x)."""
        variance = joint(self.program)[1][:, -1, -1]
        return Normal(0.0, variance.sqrt()).log_prob(x).sum(-1)

    def posterior(self, x):
        """p(z_1:T | x): mean (N, D, T) and covariance (D, T, T)."""
        covariance = joint(self.program)[1]
        gain = covariance[:, :-1, -1] / covariance[:, -1:, -1]
        return gain * x[:, :, None], covariance[:, :-1, :-1] - gain[:, :, None] * covariance[:, None, -1, :-1]

    def factor(self, t):
        """p(x | z_t) = N(x; B z_t, V), as (B, V)."""
        gain, variance = self.b, self.r**2
        for u in range(self.depth - 2, t - 1, -1):
            gain, variance = gain * self.a[u], variance + gain**2 * self.s[u] ** 2
        return gain, variance + 0 * gain

    def kl(self, q, x):
        """KL(q(z_1:T | x) ‖ p(z_1:T | x)) of each datapoint, for q as (mean, covariance) of z_1 … z_T."""
        ours, exact = (MultivariateNormal(*moments) for moments in (q, self.posterior(x)))
        return torch.distributions.kl_divergence(ours, exact).sum(-1)

    def terms(self, q, variances):
        """E_q[log q(z_t | …) − log p(z_t | z_{t−1})] for each t: (N,) each.

        Args:
            q: mean and covariance of z_1 … z_T.
            variances: of q(z_t | …) for each t.
        """
        mean, covariance = q
        found = []
        for t, (variance, (gains, _, p_variance)) in enumerate(zip(variances, self.program[:-1], strict=True)):
            gain = torch.zeros_like(mean[0])
            gain[:, t] = 1.0
            for j, a in gains.items():
                gain[:, j] = -a
            # E_q (z_t − a z_{t−1})²
            square = (gain * mean).sum(-1) ** 2 + torch.einsum("di,dij,dj->d", gain, covariance, gain)
            found.append((square / p_variance - 1 + (p_variance / variance).log()).sum(-1) / 2)
        return found
