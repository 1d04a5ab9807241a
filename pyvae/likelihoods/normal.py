"""Normal likelihoods whose scale does not depend on z: fixed, or learned."""

import pyro.distributions as dist
from torch import Tensor

from pyvae.likelihoods.location_scale import LocationScale

__all__ = ["Normal"]


class Normal(LocationScale):
    r"""The normal likelihood, with one scale σ, fixed or learned, or one for each element of x.

    .. math:: p(x \mid z) = \mathcal N(x; f(z, c), \sigma^2 I)

    With σ = 1, −log p is half the squared error plus (d/2) log 2π. A learned σ weighs reconstruction against the KL
    by maximum likelihood.

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x.
        event_shape: shape of x.
        scale: σ, or where it starts.
        learn_scale: whether σ is a parameter (its logarithm is).
        per_element: whether each element of x has its own σ. A learned one can shrink without bound where f fits an
            element exactly, such as a border that is black in all images.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints, or ``scale`` is not positive.
        PairError: when called, if the network's output has another shape.

    References:
        Rybkin, Daniilidis and Levine, *Simple and effective VAE training with calibrated decoders*, 2021 (learned σ).

    Example:
        >>> import torch
        >>> likelihood = Normal(torch.nn.Linear(2, 5), event_shape=5, scale=0.1)
        >>> round(likelihood(torch.zeros(4, 2)).variance[0, 0].item(), 4)
        0.01
    """

    def forward(self, z: Tensor, *context: Tensor) -> dist.Distribution:
        """The distribution N(f(z, c), σ² I), with z's batch shape."""
        return dist.Normal(self.location(z, *context), self.scale).to_event(len(self.event_shape))
