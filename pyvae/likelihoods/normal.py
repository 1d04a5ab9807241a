"""Normal likelihoods whose scale does not depend on z: learned, or fixed."""

import pyro.distributions as dist
from torch import Tensor

from pyvae.likelihoods.location_scale import LocationScale

__all__ = ["Normal"]


class Normal(LocationScale):
    r"""The normal likelihood, with one scale σ, learned or fixed, or one for each element of x.

    .. math:: p(x \mid z) = \mathcal N(x; f(z, c), \sigma^2 I)

    A learned σ weighs reconstruction against the KL by maximum likelihood. A fixed one must be near the error that is
    left: with σ = 1, where −log p is half the squared error plus (d/2) log 2π, a VAE of data in [0, 1] ignores z.

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x.
        event_shape: shape of x.
        scale: where σ starts, or σ itself if it is not learned.
        learn_scale: whether σ is learned (its logarithm is a parameter).
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
