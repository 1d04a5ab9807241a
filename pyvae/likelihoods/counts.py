"""The base of likelihoods of counts, parametrized by their log mean."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from pyro.distributions import Distribution
from torch import Tensor, nn

from pyvae.datasets import Kind
from pyvae.errors import ArgumentError
from pyvae.likelihoods.likelihood import Likelihood

__all__ = ["Counts"]


class Counts(Likelihood, ABC):
    r"""The base of likelihoods of counts 0, 1, 2, …, parametrized by their log mean.

    .. math:: \mu = \exp f(z, c), \qquad \text{or with a library size } l \qquad
        \mu = l \operatorname{softmax}(f(z, c))

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x.
        event_shape: shape of x.
        library: whether the last entry of the context vectors is log l; f is called with all of them.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints; when called, if there is no context although
            ``library`` is true.
        PairError: when called, if the network's output has another shape.
    """

    values = Kind.COUNTS

    def __init__(self, network: nn.Module, event_shape: int | Sequence[int], library: bool = False) -> None:
        super().__init__(network, event_shape)
        self.library = library

    def extra_repr(self) -> str:
        """The event shape and whether there is a library size."""
        return f"{super().extra_repr()}, library={self.library}"

    def log_mean(self, z: Tensor, *context: Tensor) -> Tensor:
        """The log mean, of the shape of x."""
        return self.scaled(self.checked_output(z, *context), *context)

    def checked_output(self, z: Tensor, *context: Tensor) -> Tensor:
        """The network's output, if there is a context where one is needed."""
        if self.library and not context:
            raise ArgumentError(
                f"{type(self).__name__} got no context; with library=True it expected one whose last entry is the "
                "logarithm of the library size: give the pair context=nn.Identity() and, as labels, "
                "x.sum(-1, keepdim=True).log()"
            )
        return self.output(z, *context)

    def scaled(self, output: Tensor, *context: Tensor) -> Tensor:
        """The log mean from what the network says of it."""
        if not self.library:
            return output
        dims = len(self.event_shape)
        log_shares = output.flatten(-dims).log_softmax(-1)
        return (context[-1][..., -1:] + log_shares).unflatten(-1, self.event_shape)

    @abstractmethod
    def forward(self, z: Tensor, *context: Tensor) -> Distribution:
        """The distribution of x, with z's batch shape."""
