"""Noise schedules of diffusions: log signal-to-noise ratios at each step, fixed or learned."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvae.core.arguments import check_int

__all__ = ["CosineNoise", "LearnedNoise", "LinearNoise"]


_LEAST_FALL = 1e-4  # of a learned λ, so that neighbours differ in float32


def _log_snr(steps: int, betas: Tensor) -> Tensor:
    """log ᾱ_t / (1 − ᾱ_t) for ᾱ_t = Π_{s ≤ t} (1 − β_s), in float64 where ᾱ is next to 1."""
    log_alpha_bar = torch.log1p(-betas).cumsum(0)
    return log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar))


class LinearNoise(nn.Module):
    r"""The linear noise schedule: β_t from 10⁻⁴ to 0.02 in equal steps.

    These are the values for T = 1,000; for other T they are scaled so that ᾱ_T stays about the same.

    Called without arguments: the log signal-to-noise ratios λ_t = log ᾱ_t / (1 − ᾱ_t) for t = 1 … T, (T,).

    Args:
        steps: T.

    Raises:
        ArgumentError: if ``steps`` is not a positive int.

    References:
        Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, section 4.

    Example:
        >>> [round(x, 1) for x in LinearNoise(1000)()[[0, -1]].sigmoid().tolist()]
        [1.0, 0.0]
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        check_int("steps", steps)
        self.steps = steps
        scale = 1000 / steps
        betas = torch.linspace(1e-4 * scale, 0.02 * scale, steps, dtype=torch.float64).clamp(max=0.999)
        self.register_buffer("log_snr", _log_snr(steps, betas).to(torch.get_default_dtype()), persistent=False)

    def extra_repr(self) -> str:
        """The number of steps."""
        return f"steps={self.steps}"

    def forward(self) -> Tensor:
        """The log signal-to-noise ratios λ_1 > … > λ_T, (T,)."""
        return self.log_snr


class CosineNoise(LinearNoise):
    r"""The cosine noise schedule.

    .. math:: \bar\alpha_t = f(t) / f(0), \qquad f(t) = \cos^2\Bigl(\frac{\pi}{2} \, \frac{t/T + s}{1 + s}\Bigr),
        \qquad s = 0.008

    Every β_t is at most 0.999.

    Args:
        steps: T.

    Raises:
        ArgumentError: if ``steps`` is not a positive int.

    References:
        Nichol and Dhariwal, *Improved denoising diffusion probabilistic models*, 2021, equation 17.

    Example:
        >>> round(CosineNoise(100)()[49].sigmoid().item(), 1)
        0.5
    """

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        t = torch.arange(steps + 1, dtype=torch.float64) / steps
        f = torch.cos(math.pi / 2 * (t + 0.008) / 1.008).square()
        betas = (1 - f[1:] / f[:-1]).clamp(max=0.999)
        self.log_snr = _log_snr(steps, betas).to(self.log_snr)


class LearnedNoise(nn.Module):
    r"""A noise schedule whose log signal-to-noise ratios are learned by the ELBO, in falling order.

    .. math:: \lambda_t = \lambda_1 - \sum_{s=2}^{t} (\operatorname{softplus}(\eta_s) + 10^{-4})

    It starts from the cosine schedule. Train it with the likelihood's weighting: a simple loss compares steps of
    another schedule with other weights, and would let the noise go where the loss is small.

    Args:
        steps: T.

    Raises:
        ArgumentError: if ``steps`` is not a positive int.

    References:
        Kingma, Salimans, Poole and Ho, *Variational diffusion models*, 2021, section 3.3 (a monotone network there).

    Example:
        >>> schedule = LearnedNoise(10)
        >>> bool((schedule().diff() < 0).all()), bool(torch.allclose(schedule(), CosineNoise(10)(), atol=1e-4))
        (True, True)
    """

    def __init__(self, steps: int) -> None:
        super().__init__()
        log_snr = CosineNoise(steps)()
        self.steps = steps
        self.first = nn.Parameter(log_snr[:1].clone())
        self.falls = nn.Parameter(torch.log(torch.expm1(-log_snr.diff() - _LEAST_FALL)))

    def extra_repr(self) -> str:
        """The number of steps."""
        return f"steps={self.steps}"

    def forward(self) -> Tensor:
        """The log signal-to-noise ratios λ_1 > … > λ_T, (T,)."""
        return torch.cat([self.first, self.first - (F.softplus(self.falls) + _LEAST_FALL).cumsum(0)])
