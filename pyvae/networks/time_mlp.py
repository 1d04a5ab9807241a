"""Residual perceptrons of vectors and a step."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from pyvae.errors import ArgumentError
from pyvae.networks.conditioning import Conditioning, check_call
from pyvae.networks.shapes import as_shape, as_widths

__all__ = ["TimeMLP"]


class _Layer(nn.Module):
    """S h + a(W h + b + U e), where S is the identity if the widths agree."""

    def __init__(self, fan_in: int, fan_out: int, time_dim: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.linear = nn.Linear(fan_in, fan_out)
        self.embedding = nn.Linear(time_dim, fan_out, bias=False)
        self.shortcut = nn.Identity() if fan_in == fan_out else nn.Linear(fan_in, fan_out, bias=False)
        self.activation = activation()

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        return self.shortcut(h) + self.activation(self.linear(h) + self.embedding(e))


class TimeMLP(nn.Module):
    r"""A residual perceptron of a vector, a time step and, if there are classes, a label.

    .. math:: f(x, t, y) = W h_L + b, \qquad h_l = S_l h_{l-1} + a(W_l h_{l-1} + b_l + U_l \, e(t, y)), \quad
        h_0 = x \text{ flattened}

    S_l is the identity where the widths agree, else a matrix. Called like :class:`UNet`, for events that are no images.

    Args:
        in_shape: event shape of x; it is flattened.
        out_shape: event shape of the output; None for that of x.
        hidden: widths of the hidden layers, at least one.
        num_classes: K, the number of classes; label K, like y=None, means "no label". None for no labels at all.
        time_dim: length of the embedding e(t, y), an even int of at least 4; see :class:`TimeEmbedding`.
        activation: makes the nonlinearity a.

    Raises:
        ArgumentError: for a shape that is not made of positive ints, no hidden layer, or a ``time_dim`` or
            ``num_classes`` out of range; when called, if x does not end in ``in_shape``, or t or y do not broadcast to
            its leading dimensions.
        DataError: when called with labels that are not integers, or without ``num_classes``.

    References:
        He et al., *Deep residual learning for image recognition*, 2016, equation 2.

    Example:
        >>> import torch
        >>> network = TimeMLP(2, hidden=[64, 64], num_classes=3)
        >>> network(torch.zeros(7, 5, 2), torch.tensor(10), torch.tensor([0, 1, 2, 3, 3])).shape
        torch.Size([7, 5, 2])
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        out_shape: int | Sequence[int] | None = None,
        hidden: Sequence[int] = (128, 128),
        num_classes: int | None = None,
        time_dim: int = 64,
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        super().__init__()
        self.in_shape = as_shape(in_shape, "in_shape")
        self.out_shape = self.in_shape if out_shape is None else as_shape(out_shape, "out_shape")
        widths = [self.in_shape.numel(), *as_widths(hidden, "hidden")]
        if len(widths) == 1:
            raise ArgumentError(f"hidden is {hidden!r}; expected at least one width, as t enters in the hidden layers")
        self.conditioning = Conditioning(time_dim, num_classes)
        self.layers = nn.ModuleList(_Layer(*fans, time_dim, activation) for fans in pairwise(widths))
        self.head = nn.Linear(widths[-1], self.out_shape.numel())

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """The output, of shape (leading dims of x) + ``out_shape``.

        Args:
            x: events, of shape (…) + ``in_shape``.
            t: steps, a scalar tensor or one that broadcasts to the leading dimensions of x.
            y: labels, integers of a shape like that of t; None for none.
        """
        check_call(self.in_shape, x, t, y)
        embedding = self.conditioning(t, y)
        h = x.flatten(-len(self.in_shape))
        for layer in self.layers:
            h = layer(h, embedding)
        return self.head(h).unflatten(-1, self.out_shape)
