"""The base of likelihoods whose location comes from the network and whose scale does not."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from pyvae.core.arguments import check_positive
from pyvae.datasets import Kind
from pyvae.likelihoods.likelihood import Likelihood

__all__ = ["LocationScale"]


class LocationScale(Likelihood, ABC):
    r"""The base of location-scale likelihoods whose scale, learned or fixed, does not depend on z.

    .. math:: p(x \mid z) = \prod_i \frac{1}{\sigma_i} h\Bigl(\frac{x_i - f_i(z, c)}{\sigma_i}\Bigr)

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x.
        event_shape: shape of x.
        scale: where σ starts, or σ itself if it is not learned.
        learn_scale: whether σ is learned (its logarithm is a parameter).
        per_element: whether each element of x has its own σ, in place of one for all of x.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints, or ``scale`` is not positive.
        PairError: when called, if the network's output has another shape.
    """

    values = Kind.REALS

    def __init__(
        self,
        network: nn.Module,
        event_shape: int | Sequence[int],
        scale: float = 1.0,
        learn_scale: bool = True,
        per_element: bool = False,
    ) -> None:
        super().__init__(network, event_shape)
        check_positive("scale", scale)
        shape = self.event_shape if per_element else ()
        self._set("log_scale", torch.full(shape, float(scale)).log(), learn_scale)

    def _set(self, name: str, value: Tensor, learned: bool) -> None:
        """Keep a value as a parameter or as a buffer."""
        if learned:
            setattr(self, name, nn.Parameter(value))
        else:
            self.register_buffer(name, value)

    @property
    def scale(self) -> Tensor:
        """The scale σ."""
        return self.log_scale.exp()

    def location(self, z: Tensor, *context: Tensor) -> Tensor:
        """The location f(z, c)."""
        return self.output(z, *context)

    def extra_repr(self) -> str:
        """The event shape and the scale, or the range of the scales."""
        low, high = (f"{extreme.item():g}" for extreme in self.scale.aminmax())
        scale = low if low == high else f"{low}…{high}"
        per_element = ", per_element=True" if self.log_scale.dim() else ""
        learned = self.log_scale.requires_grad
        return f"{super().extra_repr()}, scale={scale}, learn_scale={learned}{per_element}"

    @abstractmethod
    def forward(self, z: Tensor, *context: Tensor) -> Distribution:
        """The distribution of x, with z's batch shape."""
