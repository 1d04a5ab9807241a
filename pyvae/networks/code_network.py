"""The base of networks over grids of codes."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_code_dtype
from pyvae.errors import ArgumentError
from pyvae.networks.leading_dims import AnyLeadingDims

__all__ = ["CodeNetwork"]


class CodeNetwork(nn.Module):
    r"""A network of the logits of each code of a grid, given the codes before it in raster order.

    .. math:: \ell_i = f_i(k_1, \dots, k_{i-1}, c)

    Args:
        network: the same for one batch dimension, with a method ``sampler`` as the one here.
        shape: that of the grid.
        num_codes: K.
        context_shapes: those of the tensors c.
    """

    def __init__(
        self, network: nn.Module, shape: torch.Size, num_codes: int, context_shapes: Sequence[torch.Size]
    ) -> None:
        super().__init__()
        self.shape, self.num_codes = shape, num_codes
        self.context_shapes = list(context_shapes)
        self.context_event_dims = tuple(len(s) for s in context_shapes)
        self.grid = AnyLeadingDims(network, [len(shape), *self.context_event_dims])

    def forward(self, codes: Tensor, *context: Tensor) -> Tensor:
        """Logits of shape (leading dims of codes and context, broadcast) + ``shape`` + (num_codes,).

        Args:
            codes: integers of shape (…) + ``shape``.
            context: the tensors c, (…) + their shapes.
        """
        self._check_inputs([self.shape, *self.context_shapes], codes, *context)
        check_code_dtype(codes, self.num_codes)
        return self.grid(codes, *context)

    def sampler(self, rows: int, *context: Tensor) -> Generator[Tensor, Tensor, None]:
        """A generator of logits (rows, num_codes), which receives the codes (rows,) of each place before the next.

        It keeps what it has computed for the places so far. Use it without gradients.
        """
        self._check_inputs([torch.Size([rows, *s]) for s in self.context_shapes], *context)
        return self.grid.network.sampler(rows, *context)

    def _check_inputs(self, shapes: Sequence[torch.Size], *inputs: Tensor) -> None:
        """Refuse inputs that are not as many tensors as ``shapes``, each with its shape at the end.

        Raises:
            ArgumentError: naming the shapes that came and those that were expected.
        """
        given = [tuple(i.shape) if isinstance(i, Tensor) else f"a {type(i).__name__}" for i in inputs]
        fit = len(given) == len(shapes) and all(isinstance(i, Tensor) for i in inputs)
        if not fit or any(i.shape[max(i.dim() - len(s), 0) :] != s for i, s in zip(inputs, shapes, strict=True)):
            expected = "; ".join(f"(..., {', '.join(map(str, s))})" for s in shapes)
            came = "; ".join(map(str, given))
            raise ArgumentError(f"{type(self).__name__} got {came or 'no input'}; expected {expected or 'no context'}")
