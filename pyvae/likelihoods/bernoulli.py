"""The Bernoulli likelihood."""

from torch import Tensor

from pyvae import distributions
from pyvae.datasets import Kind
from pyvae.likelihoods.likelihood import Likelihood

__all__ = ["Bernoulli"]


class Bernoulli(Likelihood):
    r"""The Bernoulli likelihood, for binary data.

    .. math:: p(x \mid z) = \prod_i \pi_i^{x_i} (1 - \pi_i)^{1 - x_i}, \qquad \log \frac{\pi}{1 - \pi} = f(z, c)

    Grey values in [0, 1] are accepted as :class:`pyvae.distributions.Bernoulli` says.

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x.
        event_shape: shape of x.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.
        PairError: when called, if the network's output has another shape.

    Example:
        >>> import torch
        >>> likelihood = Bernoulli(torch.nn.Linear(2, 5), event_shape=5)
        >>> likelihood(torch.zeros(4, 2)).log_prob(torch.ones(4, 5)).shape
        torch.Size([4])
    """

    values = Kind.BINARY

    def forward(self, z: Tensor, *context: Tensor) -> distributions.Bernoulli:
        """The distribution Bernoulli(f(z, c)), with z's batch shape."""
        logits = self.output(z, *context)
        return distributions.Bernoulli(logits=logits).to_event(len(self.event_shape))
