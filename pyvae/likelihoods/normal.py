"""Normal likelihoods with one scale for all of x: fixed, or learned."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.checks import check_positive
from pyvae.likelihoods.likelihood import Likelihood
from pyvae.networks.shapes import call_network

__all__ = ["Normal"]


class Normal(Likelihood):
    r"""p(x | z) = N(x; f(z, c), σ² I), with one scale σ, fixed or learned.

    With σ = 1, −log p is half the squared error plus (d/2) log 2π. A learned σ weighs reconstruction against the KL
    by maximum likelihood.

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x.
        event_shape: shape of x.
        scale: σ, or where it starts.
        learn_scale: whether σ is a parameter (its logarithm is).

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints, or ``scale`` is not positive.
        PairError: when called, if the network's output has another shape.

    References:
        Rybkin, Daniilidis and Levine, *Simple and effective VAE training with calibrated decoders*, 2021 (learned σ).

    Example:
        >>> likelihood = Normal(nn.Linear(2, 5), event_shape=5, scale=0.1)
        >>> round(likelihood(torch.zeros(4, 2)).variance[0, 0].item(), 4)
        0.01
    """

    def __init__(
        self,
        network: nn.Module,
        event_shape: int | Sequence[int],
        scale: float = 1.0,
        learn_scale: bool = False,
    ) -> None:
        super().__init__(network, event_shape)
        check_positive("scale", scale)
        log_scale = torch.tensor(float(scale)).log()
        if learn_scale:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    @property
    def scale(self) -> Tensor:
        """σ."""
        return self.log_scale.exp()

    def extra_repr(self) -> str:
        """The event shape and the scale."""
        return f"{super().extra_repr()}, scale={self.scale.item():g}, learn_scale={self.log_scale.requires_grad}"

    def forward(self, z: Tensor, *context: Tensor) -> dist.Distribution:
        """N(f(z, c), σ² I), with z's batch shape."""
        loc = call_network(self.network, z, *context, shape=self.event_shape)
        return dist.Normal(loc, self.scale).to_event(len(self.event_shape))
