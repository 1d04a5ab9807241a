"""The Poisson likelihood."""

import pyro.distributions as dist
from torch import Tensor

from pyvae.likelihoods.counts import Counts

__all__ = ["Poisson"]

#: the least log μ: where μ is 0 in single precision, no count but 0 is possible and gradients are NaN
_LEAST = -80.0


class Poisson(Counts):
    r"""The Poisson likelihood, for counts.

    .. math:: p(x \mid z) = \prod_i \frac{\mu_i^{x_i} e^{-\mu_i}}{x_i!}, \qquad \mu = \exp f(z, c)

    With a library size l, the expected total, μ = l softmax(f(z, c)) over all elements of x: f then gives shares, and
    l, which differs from datapoint to datapoint for reasons that z should not explain, comes with the context.

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x.
        event_shape: shape of x.
        library: whether the last entry of the context vectors is log l; f is called with all of them.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints; when called, if there is no context although
            ``library`` is true.
        PairError: when called, if the network's output has another shape.

    References:
        Lopez, Regier, Cole, Jordan and Yosef, *Deep generative modeling for single-cell transcriptomics*, 2018
        (library size).

    Example:
        >>> import torch
        >>> likelihood = Poisson(torch.nn.Bilinear(2, 1, 5), event_shape=5, library=True)
        >>> log_library = torch.tensor([[10.0]]).log()
        >>> round(likelihood(torch.randn(1, 2), log_library).mean.sum().item(), 3)
        10.0
    """

    def forward(self, z: Tensor, *context: Tensor) -> dist.Distribution:
        """The distribution Poisson(μ), with z's batch shape."""
        log_mean = self.log_mean(z, *context).clamp(min=_LEAST)
        return dist.Poisson(log_mean.exp()).to_event(len(self.event_shape))
