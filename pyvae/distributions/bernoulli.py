"""The Bernoulli distribution over intensities."""

import pyro.distributions as dist
from torch.distributions import constraints

__all__ = ["Bernoulli"]


class Bernoulli(dist.Bernoulli):
    r"""The Bernoulli distribution, which also accepts grey values between 0 and 1.

    .. math:: \log p(x) = x \log \pi + (1 - x) \log(1 - \pi), \qquad x \in [0, 1]

    For x in {0, 1} this is the Bernoulli distribution. Grey values between are accepted as well, as VAEs are
    commonly trained on them: log p is then minus the cross-entropy, **not a log density** (it is not normalized over
    [0, 1]; :func:`pyvae.fit` warns of it). Samples are always 0 or 1. Values outside [0, 1] are refused while Pyro's
    validation is on.

    Args:
        probs: π, of any shape.
        logits: log π / (1 − π), instead of ``probs``.

    Raises:
        ValueError: from ``log_prob``, for values outside [0, 1].

    Example:
        >>> import torch
        >>> Bernoulli(logits=torch.zeros(2)).log_prob(torch.tensor([1.0, 0.5]))
        tensor([-0.6931, -0.6931])
    """

    support = constraints.unit_interval
