"""The likelihood of incomplete data."""

from collections.abc import Callable, Sequence

import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from pyvae.core.arguments import check_maker
from pyvae.distributions import PartiallyObserved
from pyvae.errors import PairError
from pyvae.likelihoods.likelihood import Likelihood
from pyvae.likelihoods.normal import Normal

__all__ = ["MissingAtRandom"]


class MissingAtRandom(Likelihood):
    r"""The likelihood of incomplete data, from any likelihood whose elements are independent; NaN means missing.

    .. math:: p(x_o \mid z) = \prod_{i \text{ observed}} p(x_i \mid z)

    Missing elements are integrated out, so that the ELBO bounds log p(x_o), as long as it is missing at random: whether
    x_i is missing depends on observed values alone. Samples are complete. The guide must handle NaN; see
    :class:`pyvae.networks.ObservedOnly`. :func:`pyvae.impute` fills in missing values.

    Args:
        network: the network of the likelihood.
        event_shape: shape of x.
        likelihood: makes p(x | z) from both; for arguments of its own use ``functools.partial``.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints, or ``likelihood`` makes none.
        PairError: when called, if the elements of x are not independent given z.

    References:
        Mattei and Frellsen, *MIWAE*, 2019, equation 4; Nazábal et al., *Handling incomplete heterogeneous data using
        VAEs*, 2020, equation 2.

    Example:
        >>> likelihood = MissingAtRandom(nn.Linear(2, 5), event_shape=5)
        >>> x = torch.tensor([1.0, torch.nan, 0.0, torch.nan, 2.0])
        >>> bool(likelihood(torch.zeros(4, 2)).log_prob(x).isfinite().all())
        True
    """

    #: says that NaN in data stands for missing values
    takes_missing = True

    def __init__(
        self,
        network: nn.Module,
        event_shape: int | Sequence[int],
        likelihood: Callable[[nn.Module, Sequence[int]], Likelihood] = Normal,
    ) -> None:
        nn.Module.__init__(self)
        example = "likelihoods.Bernoulli or functools.partial(likelihoods.Normal, scale=0.1)"
        check_maker("likelihood", likelihood, "a network and a shape", example)
        self.likelihood = likelihood(network, event_shape)

    @property
    def network(self) -> nn.Module:
        """That of the likelihood."""
        return self.likelihood.network

    @property
    def event_shape(self) -> torch.Size:
        """The shape of x."""
        return self.likelihood.event_shape

    @property
    def output_shape(self) -> torch.Size:
        """The output shape of the likelihood it is made from."""
        return self.likelihood.output_shape

    def output(self, *inputs: Tensor) -> Tensor:
        """As of the likelihood."""
        return self.likelihood.output(*inputs)

    def forward(self, z: Tensor, *context: Tensor) -> Distribution:
        """The distribution p(x | z), whose density leaves NaN out."""
        p = self.likelihood(z, *context)
        if not isinstance(p, torch.distributions.Independent):
            raise PairError(
                f"{type(self.likelihood).__name__} returned {type(p).__name__}; values can be missing of distributions "
                "whose elements are independent: Normal(loc, scale).to_event(1)"
            )
        return PartiallyObserved(p.base_dist).to_event(p.reinterpreted_batch_ndims)
