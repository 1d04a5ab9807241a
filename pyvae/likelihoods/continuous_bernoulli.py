"""The continuous Bernoulli likelihood."""

from torch import Tensor

from pyvae import distributions
from pyvae.datasets import Kind
from pyvae.likelihoods.likelihood import Likelihood

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(Likelihood):
    r"""The continuous Bernoulli likelihood, for grey values in [0, 1].

    .. math:: p(x \mid z) = \prod_i C(\lambda_i) \lambda_i^{x_i} (1 - \lambda_i)^{1 - x_i}, \qquad
        \log \frac{\lambda}{1 - \lambda} = f(z, c), \qquad
        C(\lambda) = \frac{2 \operatorname{artanh}(1 - 2 \lambda)}{1 - 2 \lambda}

    This is the Bernoulli likelihood of grey values, made a density by the constant C(λ). The mean of x_i is not λ_i but
    nearer to 1/2. On binary data the likelihood grows without bound.

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x.
        event_shape: shape of x.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.
        PairError: when called, if the network's output has another shape.

    References:
        Loaiza-Ganem and Cunningham, *The continuous Bernoulli: fixing a pervasive error in variational autoencoders*,
        2019, section 3.

    Example:
        >>> import torch
        >>> likelihood = ContinuousBernoulli(torch.nn.Linear(2, 5), event_shape=5)
        >>> likelihood(torch.zeros(4, 2)).log_prob(torch.rand(4, 5)).shape
        torch.Size([4])
    """

    values = Kind.INTENSITIES

    def forward(self, z: Tensor, *context: Tensor) -> distributions.ContinuousBernoulli:
        """The distribution ContinuousBernoulli(f(z, c)), with z's batch shape."""
        logits = self.output(z, *context)
        return distributions.ContinuousBernoulli(logits).to_event(len(self.event_shape))
