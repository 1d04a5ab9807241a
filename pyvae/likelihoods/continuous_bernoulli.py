"""The continuous Bernoulli likelihood."""

from torch import Tensor

from pyvae import distributions
from pyvae.likelihoods.likelihood import Likelihood

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(Likelihood):
    r"""p(x | z) = Π_i C(λ_i) λ_i^{x_i} (1 − λ_i)^{1 − x_i} on [0, 1], with logits log λ / (1 − λ) = f(z, c).

    For grey values in [0, 1]: what a Bernoulli likelihood gives of them, made a density by its constant
    C(λ) = 2 artanh(1 − 2λ) / (1 − 2λ). The mean of x_i is not λ_i but nearer to 1/2. On data of 0 and 1 alone it grows
    without bound.

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

    def forward(self, z: Tensor, *context: Tensor) -> distributions.ContinuousBernoulli:
        """ContinuousBernoulli(f(z, c)), with z's batch shape."""
        logits = self.output(z, *context)
        return distributions.ContinuousBernoulli(logits).to_event(len(self.event_shape))
