"""A normal distribution over the grey levels of an image."""

import math

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions import constraints

from pyvae.core.arguments import check_int

__all__ = ["DiscretizedNormal"]


class DiscretizedNormal(TorchDistribution):
    r"""A normal distribution over the grey levels of an image.

    .. math:: P(x = k/(L - 1)) = \int_{C_k} \mathcal N(y; \mu, \sigma^2) \, dy, \qquad k = 0, \dots, L - 1

    C_k is the cell around k/(L − 1).

    Cells are 1/(L − 1) wide and meet half way; the first and the last extend to −∞ and ∞, so that the probabilities
    sum to 1. For images with L grey levels, scaled to [0, 1]: the log probability is then one of the data, and
    −log₂ P per dimension their length in bits.

    Args:
        loc: μ.
        scale: σ.
        levels: L, at least 2.

    Raises:
        ArgumentError: if there are fewer than two levels.
        ValueError: from ``log_prob``, for values outside [0, 1], while Pyro's validation is on.

    References:
        Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, equation 13.

    Example:
        >>> p = DiscretizedNormal(torch.tensor(0.3), torch.tensor(0.2), levels=5)
        >>> round(p.log_prob(torch.linspace(0, 1, 5)).exp().sum().item(), 6)
        1.0
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012 (as torch has it)
    support = constraints.unit_interval
    has_rsample = False

    def __init__(self, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = None) -> None:
        check_int("levels", levels, 2)
        self.levels = levels
        shape = broadcast_shape(loc.shape, scale.shape)
        self.loc, self.scale = loc.expand(shape), scale.expand(shape)
        super().__init__(shape, validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "DiscretizedNormal":
        """The same distribution, expanded to a larger batch."""
        loc, scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        expanded = DiscretizedNormal(loc, scale, self.levels, validate_args=False)
        expanded._validate_args = self._validate_args
        return expanded

    @property
    def mean(self) -> Tensor:
        """The mean μ, clipped to [0, 1]; exact but for the grid and the mass outside."""
        return self.loc.clamp(0, 1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples of the normal, rounded to the grid."""
        with torch.no_grad():
            shape = self._extended_shape(sample_shape)
            draws = torch.normal(self.loc.expand(shape), self.scale.expand(shape)).clamp(0, 1)
            return (draws * (self.levels - 1)).round() / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log probability of values on the grid; values between count as their nearest level."""
        if self._validate_args:
            self._validate_sample(value)
        last = self.levels - 1
        level = (value * last).round()
        # neighbours must meet in the very same number, else probability falls through the gap
        low, high = (((level + side) / last - self.loc) / self.scale for side in (-0.5, 0.5))
        inside = _log_normal_mass(low, high, 1 / (last * self.scale))
        return torch.where(level < 0.5, _log_ndtr(high), torch.where(level > last - 0.5, _log_ndtr(-low), inside))


def _log_ndtr(z: Tensor) -> Tensor:
    """log Φ(z), whose gradient is right in the tail, too."""
    tail = z.clamp(max=-1.0)
    below = (torch.special.erfcx(-tail / math.sqrt(2)) / 2).log() - tail.square() / 2
    return torch.where(z < -1.0, below, torch.special.log_ndtr(z.clamp(min=-1.0)))


def _log_normal_mass(low: Tensor, high: Tensor, width: Tensor) -> Tensor:
    """log (Φ(high) − Φ(low)), finite and with finite gradients wherever the cell of this width lies."""
    # mirrored into the lower tail, where log Φ keeps its digits
    mirrored = low + high > 0
    low, high = torch.where(mirrored, -high, low), torch.where(mirrored, -low, high)
    log_high, log_low = _log_ndtr(high), _log_ndtr(low)
    difference = (log_low - log_high).clamp(max=-1e-7)
    # log(1 − eˣ), in the form that keeps its digits
    rest = torch.where(difference > -0.693, (-torch.expm1(difference)).log(), torch.log1p(-difference.exp()))
    # where the cell is a sliver both logarithms agree in nearly every digit; there, density times width
    middle = (low + high) / 2
    sliver = width.log() - middle.square() / 2 - math.log(2 * math.pi) / 2
    return torch.where((1 + middle.abs()) * width < 1e-2, sliver, log_high + rest)
