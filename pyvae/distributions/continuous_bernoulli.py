"""The continuous Bernoulli distribution, for any logits."""

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["ContinuousBernoulli"]

#: where power series in the logit take over from formulas that are 0/0 at 0
_SMALL = 0.5


class ContinuousBernoulli(TorchDistribution):
    r"""The continuous Bernoulli distribution on [0, 1], accurate for any logits.

    .. math:: \log p(x) = x \eta - \log \frac{e^\eta - 1}{\eta}, \qquad \eta = \log \frac{\lambda}{1 - \lambda}

    That is λ^x (1 − λ)^{1 − x}, as of a Bernoulli distribution, with the constant that makes it a density. It is
    uniform for η = 0, and nearly exponential from one of the ends, with the mean 1/abs(η) away from it, for large η.

    torch's distribution of this name computes the constant from λ in place of η and, in single precision, is off by
    0.01 nats at η = 15 and by 0.9 at η = 40, so that it does not integrate to 1; this one does for all η.

    Args:
        logits: η, of any shape.

    Raises:
        ValueError: from ``log_prob``, for values outside [0, 1], while Pyro's validation is on.

    References:
        Loaiza-Ganem and Cunningham, *The continuous Bernoulli: fixing a pervasive error in variational autoencoders*,
        2019, section 3.

    Example:
        >>> p = ContinuousBernoulli(torch.tensor([0.0, 1000.0]))
        >>> p.log_prob(torch.ones(2)).exp().round().tolist(), p.mean
        ([1.0, 1000.0], tensor([0.5000, 0.9990]))
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012 (as torch has it)
    support = constraints.unit_interval
    has_rsample = False

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "ContinuousBernoulli":
        """The same distribution, expanded to a larger batch."""
        expanded = ContinuousBernoulli(self.logits.expand(batch_shape), validate_args=False)
        expanded._validate_args = self._validate_args
        return expanded

    @property
    def mean(self) -> Tensor:
        """The mean, 1/(1 − e^{−η}) − 1/η."""
        small, eta, size, far = self._parts()
        # the distance to the nearer end, whose digits a difference from 1 would drop
        distance = 1 / size - far / (1 - far)
        square = eta.square()
        slope = _series(square, 1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160)
        return torch.where(small, 0.5 + eta * slope, torch.where(self.logits > 0, 1 - distance, distance))

    @property
    def variance(self) -> Tensor:
        """The variance, 1/η² − e^η / (e^η − 1)²."""
        small, eta, size, far = self._parts()
        series = _series(eta.square(), 1 / 12, -1 / 240, 1 / 6048, -1 / 172800, 1 / 5322240)
        return torch.where(small, series, size.square().reciprocal() - far / (1 - far).square())

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples, by the inverse of the distribution function."""
        with torch.no_grad():
            uniform = torch.rand(self._extended_shape(sample_shape), dtype=self.logits.dtype, device=self.logits.device)
            size = self.logits.abs().clamp(min=torch.finfo(self.logits.dtype).eps)
            distance = (-torch.log1p(uniform * torch.expm1(-size)) / size).clamp(0, 1)
            return torch.where(self.logits > 0, 1 - distance, distance)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density of values in [0, 1]."""
        if self._validate_args:
            self._validate_sample(value)
        small, eta, size, far = self._parts()
        series = _series(eta.square(), 0, 1 / 24, -1 / 2880, 1 / 181440, -1 / 9676800, 1 / 479001600)
        near_uniform = (value - 0.5) * eta - series
        distance = torch.where(self.logits > 0, 1 - value, value)
        return torch.where(small, near_uniform, size.log() - size * distance - torch.log1p(-far))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Where η is small; η as for the series; abs(η) and its e^{−abs(η)} as for the other formulas.

        Each is kept within its part, or gradients of the formula not chosen would be NaN times 0.
        """
        # half precision is too coarse for the sum over an image
        logits = self.logits.float() if self.logits.dtype in (torch.half, torch.bfloat16) else self.logits
        small = logits.abs() < _SMALL
        size = torch.where(small, _SMALL, logits.abs())
        return small, torch.where(small, logits, 0.0), size, (-size).exp()


def _series(x: Tensor, *coefficients: float) -> Tensor:
    """Σ_n a_n x^n."""
    total = torch.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = total * x + coefficient
    return total
