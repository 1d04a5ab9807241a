"""The categorical likelihood of grey levels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_int
from pyvae.datasets import Kind
from pyvae.distributions import CategoricalLevels
from pyvae.likelihoods.likelihood import Likelihood

__all__ = ["Categorical"]


class Categorical(Likelihood):
    r"""The categorical likelihood of L grey levels, for images scaled to [0, 1].

    .. math:: p(x \mid z) = \prod_i P_i(x_i), \qquad P_i = \operatorname{softmax}(f_i(z, c)), \qquad
        x_i = k/(L - 1)

    Each element may have any distribution, at the cost of L network outputs.

    Args:
        network: f, called as ``network(z, *context)``; its output has the shape of x with the first dimension L times
            as long: all logits of level 0, then of level 1, and so on.
        event_shape: shape of x.
        levels: L, at least 2.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints, or there are fewer than two levels.
        PairError: when called, if the network's output has another shape.

    References:
        Van den Oord, Kalchbrenner and Kavukcuoglu, *Pixel recurrent neural networks*, 2016, section 2.2.

    Example:
        >>> likelihood = Categorical(nn.Linear(2, 4 * 5), event_shape=5, levels=4)
        >>> likelihood(torch.zeros(4, 2)).log_prob(torch.ones(4, 5)).shape
        torch.Size([4])
    """

    values = Kind.LEVELS

    def __init__(self, network: nn.Module, event_shape: int | Sequence[int], levels: int = 256) -> None:
        super().__init__(network, event_shape)
        check_int("levels", levels, 2)
        self.levels = levels

    @property
    def output_shape(self) -> torch.Size:
        """The shape of the logits of the levels, one after another."""
        return torch.Size([self.levels * self.event_shape[0], *self.event_shape[1:]])

    def extra_repr(self) -> str:
        """The event shape and the number of levels."""
        return f"{super().extra_repr()}, levels={self.levels}"

    def forward(self, z: Tensor, *context: Tensor) -> CategoricalLevels:
        """The distribution softmax(f(z, c)), with z's batch shape."""
        dims = len(self.event_shape)
        logits = self.output(z, *context)
        logits = logits.unflatten(-dims, (self.levels, self.event_shape[0])).movedim(-dims - 1, -1)
        return CategoricalLevels(logits).to_event(dims)
