"""The forward process of a diffusion: the fixed guide, which turns data into noise step by step."""

from dataclasses import dataclass
from functools import cached_property

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["ForwardProcess"]


@dataclass(frozen=True)
class ForwardProcess:
    r"""The forward process of a diffusion, which adds normal noise in T steps.

    .. math:: q(x_t \mid x_{t-1}) = \mathcal N(\sqrt{\alpha_t} x_{t-1}, \beta_t I), \qquad t = 1, \dots, T, \qquad
        \bar\alpha_t = \prod_{s \le t} \alpha_s, \qquad \bar\alpha_0 = 1

    Steps t are ints or tensors of ints, of the batch shape. Everything is computed from log signal-to-noise ratios
    λ_t = log ᾱ_t / (1 − ᾱ_t), which keep their digits at both ends.

    Attributes:
        log_snr: λ_1 > … > λ_T, (T,).
        event_dim: the number of dimensions of an event.

    References:
        Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, equations 2, 4, 6 and 7; Kingma et al.,
        *Variational diffusion models*, 2021, appendix A.
    """

    log_snr: Tensor
    event_dim: int

    @property
    def steps(self) -> int:
        """The number of steps, T."""
        return len(self.log_snr)

    def _at(self, values: Tensor, t: int | Tensor) -> Tensor:
        """The entries of (values of t = 0 … T) that belong to the steps, with dimensions for the event."""
        return values[t][(..., *[None] * self.event_dim)]

    @cached_property
    def _log_alpha_bar(self) -> Tensor:
        return torch.cat([self.log_snr.new_zeros(1), F.logsigmoid(self.log_snr)])

    @cached_property
    def _one_minus_alpha_bar(self) -> Tensor:
        return torch.cat([self.log_snr.new_zeros(1), torch.sigmoid(-self.log_snr)])

    @cached_property
    def _beta(self) -> Tensor:
        """β_t at index t; the entry of t = 0 has no meaning."""
        falls = self._log_alpha_bar.diff()
        return torch.cat([falls.new_ones(1), -torch.expm1(falls)])

    def signal(self, t: int | Tensor) -> Tensor:
        """The signal scale √ᾱ_t."""
        return self._at((self._log_alpha_bar / 2).exp(), t)

    def noise(self, t: int | Tensor) -> Tensor:
        """The noise scale √(1 − ᾱ_t)."""
        return self._at(self._one_minus_alpha_bar.sqrt(), t)

    def snr(self, t: int | Tensor) -> Tensor:
        """The signal-to-noise ratio ᾱ_t / (1 − ᾱ_t), for t ≥ 1."""
        return self._at(torch.cat([self.log_snr[:1], self.log_snr]).exp(), t)

    def beta(self, t: int | Tensor) -> Tensor:
        """The noise variance β_t of a step, for t ≥ 1."""
        return self._at(self._beta, t)

    def posterior_variance(self, t: int | Tensor) -> Tensor:
        """The variance β̃_t of q(x_{t−1} | x_t, x_0), for t ≥ 1.

        β̃_t = β_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t). It is 0 at t = 1, where that of t = 2 is given.
        """
        bar = self._one_minus_alpha_bar
        variances = self._beta[1:] * bar[:-1] / bar[1:]
        second = variances[1:2] if self.steps > 1 else self._beta[1:]
        return self._at(torch.cat([second, second, variances[1:]]), t)

    def data_weight(self, t: int | Tensor) -> Tensor:
        """The factor of x_0 in the mean of q(x_{t−1} | x_t, x_0): √ᾱ_{t−1} β_t / (1 − ᾱ_t), for t ≥ 1."""
        weights = (self._log_alpha_bar[:-1] / 2).exp() * self._beta[1:] / self._one_minus_alpha_bar[1:]
        return self._at(torch.cat([weights[:1], weights]), t)

    def state_weight(self, t: int | Tensor) -> Tensor:
        """The factor of x_t in the mean of q(x_{t−1} | x_t, x_0): √α_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t), for t ≥ 1."""
        bar = self._one_minus_alpha_bar
        weights = (self._log_alpha_bar.diff() / 2).exp() * bar[:-1] / bar[1:]
        return self._at(torch.cat([weights[:1], weights]), t)

    def marginal(self, x_0: Tensor, t: int | Tensor) -> dist.Distribution:
        """The marginal q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I)."""
        return dist.Normal(self.signal(t) * x_0, self.noise(t)).to_event(self.event_dim)

    def step(self, x: Tensor, t: int | Tensor) -> dist.Distribution:
        """The forward step q(x_t | x_{t−1} = x)."""
        beta = self.beta(t)
        return dist.Normal((1 - beta).sqrt() * x, beta.sqrt()).to_event(self.event_dim)

    def posterior_mean(self, x_t: Tensor, x_0: Tensor, t: int | Tensor) -> Tensor:
        """The mean of q(x_{t−1} | x_t, x_0)."""
        return self.data_weight(t) * x_0 + self.state_weight(t) * x_t

    def posterior(self, x_t: Tensor, x_0: Tensor, t: int | Tensor) -> dist.Distribution:
        """The distribution q(x_{t−1} | x_t, x_0), for t ≥ 2."""
        scale = self.posterior_variance(t).sqrt()
        return dist.Normal(self.posterior_mean(x_t, x_0, t), scale).to_event(self.event_dim)
