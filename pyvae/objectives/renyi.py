"""Rényi's bounds, with weights of its own for each datapoint."""

import math
from numbers import Real

from torch import Tensor

from pyvae.errors import ArgumentError
from pyvae.objectives.importance_weighted import ImportanceWeightedELBO

__all__ = ["VariationalRenyiBound"]


class VariationalRenyiBound(ImportanceWeightedELBO):
    r"""The variational Rényi bound, a family that contains the ELBO and the importance-weighted bound.

    .. math:: L_\alpha = \frac{1}{1 - \alpha} \log \frac 1K \sum_k w_k^{1 - \alpha}

    It is the ELBO for α → 1, L_K for α = 0, and the log of the largest weight for α → −∞.

    With many particles it tends to log p(x) − D_α(q ‖ p(z | x)): below log p(x) for α > 0, above for α < 0. With few,
    the estimate of the logarithm lowers all of them, so that for α < 0 it may lie on either side of log p(x).

    Args:
        alpha: α; 1 is the ELBO with K particles.
        num_particles: K.
        vectorize_particles: as for :class:`ImportanceWeightedELBO`.

    Raises:
        ArgumentError: if α is not finite, or K not positive.
        PairError: as for :class:`ImportanceWeightedELBO`.

    References:
        Li and Turner, *Rényi divergence variational inference*, 2016, equations 4 and 6.

    Example:
        >>> import torch
        >>> VariationalRenyiBound(alpha=0.5, num_particles=2).bound(torch.tensor([[0.0], [0.0]]))
        tensor([0.])
    """

    def __init__(self, alpha: float = 0.5, num_particles: int = 5, vectorize_particles: bool = True) -> None:
        super().__init__(num_particles, vectorize_particles)
        if isinstance(alpha, bool) or not isinstance(alpha, Real) or not math.isfinite(alpha):
            raise ArgumentError(f"alpha is {alpha!r}; expected a finite number")
        self.alpha = alpha

    def bound(self, log_weights: Tensor) -> Tensor:
        """The bound L_α, for α = 1 its limit."""
        power = 1 - self.alpha
        if abs(power) < 1e-9:
            return log_weights.mean(0)
        # the division magnifies what rounding leaves of the logarithm
        return (super().bound(power * log_weights.double()) / power).to(log_weights)
