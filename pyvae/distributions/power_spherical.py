"""The power spherical distribution of directions."""

import math

import torch
from pyro.distributions import TorchDistribution
from pyro.distributions import constraints as pyro_constraints
from torch import Tensor
from torch.distributions import constraints, register_kl

from pyvae.distributions.hyperspherical_uniform import HypersphericalUniform, log_area
from pyvae.distributions.vectors import vector_length

__all__ = ["PowerSpherical"]


class PowerSpherical(TorchDistribution):
    r"""The power spherical distribution of unit vectors around a mean direction.

    .. math:: p(z) = \frac{(1 + \mu^\top z)^\kappa}{C(\kappa)}, \qquad \|z\| = 1, \qquad
        C(\kappa) = 2^{\alpha + \beta} \pi^\beta \, \frac{\Gamma(\alpha)}{\Gamma(\alpha + \beta)}

    β = (d − 1)/2 and α = β + κ. It is uniform for κ = 0 and contracts to the mean direction μ as κ grows, as the von
    Mises-Fisher distribution, but its samples are reparametrized and need no rejection, and its entropy and its KL
    divergence from :class:`HypersphericalUniform` have closed forms. Accurate for large κ, in single precision, too.

    Args:
        loc: μ, unit vectors of shape (…, d), with d at least 2.
        concentration: κ, positive, of shape (…).

    Raises:
        ArgumentError: if d is below 2.
        ValueError: while Pyro's validation is on, if μ, or from ``log_prob`` a value, is no unit vector.

    References:
        De Cao and Aziz, *The power spherical distribution*, 2020 (density, entropy and KL divergence; samples are
        made differently here).

    Example:
        >>> p = PowerSpherical(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(1e4))
        >>> bool((p.sample((100,))[:, -1] > 0.99).all())
        True
    """

    arg_constraints = {  # noqa: RUF012 (as torch has it)
        "loc": pyro_constraints.sphere,
        "concentration": constraints.positive,
    }
    support = pyro_constraints.sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        vector_length(loc.shape[-1:], 2)
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(batch_shape + loc.shape[-1:])
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "PowerSpherical":
        """The same distribution, expanded to a larger batch."""
        batch_shape = torch.Size(batch_shape)
        loc, concentration = self.loc.expand(batch_shape + self.event_shape), self.concentration.expand(batch_shape)
        expanded = PowerSpherical(loc, concentration, validate_args=False)
        expanded._validate_args = self._validate_args
        return expanded

    @property
    def _beta(self) -> float:
        return (self.event_shape[0] - 1) / 2

    @property
    def mean(self) -> Tensor:
        """The mean vector μ κ / (κ + d − 1), which lies inside the sphere."""
        return self.loc * (self.concentration / (self.concentration + 2 * self._beta)).unsqueeze(-1)

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate."""
        beta, kappa = self._beta, self.concentration
        # t = μᵀz is 2 T − 1 with T ~ Beta(α, β); across μ, E[1 − t²] is shared by d − 1 directions
        total = kappa + 2 * beta
        along = 4 * (kappa + beta) * beta / (total.square() * (total + 1))
        across = 4 * (kappa + beta) / (total * (total + 1)) / 2
        squared = self.loc.square()
        return along.unsqueeze(-1) * squared + across.unsqueeze(-1) * (1 - squared)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Reparametrized samples, made about the first axis and reflected to μ."""
        shape = self._extended_shape(sample_shape)
        loc, kappa = self.loc.expand(shape), self.concentration.expand(shape[:-1])
        # T = a / (a + b) with a ~ Gamma(α), b ~ Gamma(β); half the square of d − 1 normals is such a b, and their
        # direction that of what is across the axis: cosine and the rest have no digits to lose, however large κ
        normals = torch.randn_like(loc[..., 1:])
        a = torch.distributions.Gamma(kappa + self._beta, 1.0, validate_args=False).rsample().unsqueeze(-1)
        b = normals.square().sum(-1, keepdim=True) / 2
        drawn = torch.cat([a - b, (2 * a).sqrt() * normals], -1) / (a + b)
        # the reflection takes the first axis to −s μ, with the sign s for which its normal never vanishes
        sign = torch.where(loc[..., :1] < 0, -1.0, 1.0).to(loc.dtype)
        normal = torch.cat([loc[..., :1] + sign, loc[..., 1:]], -1)
        projection = (normal * drawn).sum(-1, keepdim=True) / (1 + loc[..., :1].abs())
        return sign * (normal * projection - drawn)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density, κ log (1 + μᵀz) − log C(κ)."""
        if self._validate_args:
            self._validate_sample(value)
        # (1 + μᵀz)/2 from the distance to the nearer of μ and −μ, which keeps its digits beside either
        to, from_opposite = ((value - side * self.loc).square().sum(-1) / 4 for side in (1, -1))
        near = torch.log1p(-to.clamp(max=0.75))
        far = from_opposite.clamp(min=torch.finfo(value.dtype).tiny).log()
        return self.concentration * torch.where(to < 0.5, near, far) - self._log_normalizer()

    def entropy(self) -> Tensor:
        """The entropy, log C(κ) − κ E[log (1 + μᵀz)]."""
        alpha, total = self._parameters()
        expected = torch.digamma(alpha) - torch.digamma(total)  # of log (1 + μᵀz)/2
        return self._log_normalizer() - (self.concentration.double() * expected).to(self.concentration.dtype)

    def _parameters(self) -> tuple[Tensor, Tensor]:
        """α and α + β; in double precision, else the difference of their log Γ, which are huge, has no digits left."""
        alpha = self.concentration.double() + self._beta
        return alpha, alpha + self._beta

    def _log_normalizer(self) -> Tensor:
        """log C(κ) − κ log 2 = 2 β log 2 + β log π + log Γ(α) − log Γ(α + β)."""
        alpha, total = self._parameters()
        result = self._beta * math.log(4 * math.pi) + torch.lgamma(alpha) - torch.lgamma(total)
        return result.to(self.concentration.dtype)


@register_kl(PowerSpherical, HypersphericalUniform)
def _kl(q: PowerSpherical, p: HypersphericalUniform) -> Tensor:
    return log_area(p.dim) - q.entropy()
