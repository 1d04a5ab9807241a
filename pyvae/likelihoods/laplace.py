"""The Laplace likelihood, of absolute errors."""

import pyro.distributions as dist
from torch import Tensor

from pyvae.likelihoods.location_scale import LocationScale

__all__ = ["Laplace"]


class Laplace(LocationScale):
    r"""The Laplace likelihood, with one scale b, learned or fixed, or one for each element of x.

    .. math:: p(x \mid z) = \prod_i \frac{1}{2b} \exp\Bigl(-\frac{|x_i - f_i(z, c)|}{b}\Bigr)

    −log p is the sum of absolute errors over b, plus d log 2b: outliers count less than under a normal likelihood, and
    f estimates medians. The variance is 2 b².

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x.
        event_shape: shape of x.
        scale: where b starts, or b itself if it is not learned, in the units of x.
        learn_scale: whether b is learned (its logarithm is a parameter).
        per_element: whether each element of x has its own b.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints, or ``scale`` is not positive.
        PairError: when called, if the network's output has another shape.

    Example:
        >>> import torch
        >>> likelihood = Laplace(torch.nn.Linear(2, 5), event_shape=5, scale=0.1)
        >>> round(likelihood(torch.zeros(4, 2)).variance[0, 0].item(), 4)
        0.02
    """

    def forward(self, z: Tensor, *context: Tensor) -> dist.Distribution:
        """The distribution Laplace(f(z, c), b), with z's batch shape."""
        return dist.Laplace(self.location(z, *context), self.scale).to_event(len(self.event_shape))
