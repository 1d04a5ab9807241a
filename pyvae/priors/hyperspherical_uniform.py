"""The uniform prior on the sphere."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyvae import distributions
from pyvae.distributions.vectors import vector_length
from pyvae.priors.prior import Prior

__all__ = ["HypersphericalUniform"]


class HypersphericalUniform(Prior):
    r"""The uniform prior on the unit sphere, whatever the context.

    .. math:: p(z) = \frac{\Gamma(d/2)}{2 \pi^{d/2}}, \qquad \|z\| = 1

    For latents that are directions, with the guide :class:`~pyvae.guides.PowerSpherical`, from which it has a KL
    divergence in closed form.

    Args:
        event_shape: the length d of z, at least 2.

    Raises:
        ArgumentError: if ``event_shape`` is not that of such a vector.

    References:
        Davidson et al., *Hyperspherical variational auto-encoders*, 2018, section 3.

    Example:
        >>> bool(HypersphericalUniform(3)().sample().norm().isclose(torch.tensor(1.0)))
        True
    """

    def __init__(self, event_shape: int | Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(vector_length(event_shape, 2)), persistent=False)

    def extra_repr(self) -> str:
        """The event shape."""
        return f"event_shape={tuple(self.loc.shape)}"

    def forward(self, *context: Tensor) -> distributions.HypersphericalUniform:
        """The uniform distribution, with batch shape ()."""
        return distributions.HypersphericalUniform(len(self.loc), self.loc)
