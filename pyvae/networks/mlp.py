"""Multilayer perceptrons."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyvae.networks.shapes import as_shape, as_widths

__all__ = ["MLP"]


class MLP(nn.Module):
    r"""A multilayer perceptron between events of any shape.

    .. math:: f(x, c) = W_L \, a(\dots a(W_1 [x, c] + b_1) \dots) + b_L

    Args:
        in_shape: event shape of x; it is flattened.
        out_shape: event shape of the output.
        hidden: widths of the hidden layers; none makes an affine map.
        context_dim: length of the context vector c, 0 for none.
        activation: makes the nonlinearity a.

    Raises:
        ArgumentError: for a shape that is not made of positive ints.

    Example:
        >>> encoder = MLP((1, 28, 28), 40, hidden=(200, 200), activation=nn.Tanh)
        >>> encoder(torch.zeros(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 40])
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_shape: int | Sequence[int],
        hidden: Sequence[int] = (256,),
        context_dim: int = 0,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.in_shape, self.out_shape = as_shape(in_shape, "in_shape"), as_shape(out_shape, "out_shape")
        widths = [self.in_shape.numel() + context_dim, *as_widths(hidden, "hidden"), self.out_shape.numel()]
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), activation()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """The output, of shape (leading dims of x and c, broadcast) + ``out_shape``."""
        x = x.flatten(-len(self.in_shape))
        leading = torch.broadcast_shapes(x.shape[:-1], *(c.shape[:-1] for c in context))
        inputs = [t.expand(leading + t.shape[-1:]) for t in (x, *context)]
        return self.layers(torch.cat(inputs, -1) if context else x).unflatten(-1, self.out_shape)
