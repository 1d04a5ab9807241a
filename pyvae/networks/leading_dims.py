"""Leading dimensions: a network that knows only (batch, event) serves particles and enumeration too."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae.errors import ArgumentError

__all__ = ["AnyLeadingDims"]


class AnyLeadingDims(nn.Module):
    r"""A wrapper that applies a network for one batch dimension over any leading dimensions.

    .. math:: (l_1, \dots, l_k, e) \mapsto f \text{ on a flat batch of } \textstyle\prod_i l_i

    Convolutions accept exactly one batch dimension, while particles and enumeration add more on the left. This
    wrapper flattens them, calls the network once, and restores them. Inputs are broadcast against each other.

    Args:
        network: a module called with one tensor per entry of ``event_dims``.
        event_dims: the number of event dimensions of each input; 3 for images, 1 for vectors.

    Raises:
        ArgumentError: if an input has fewer dimensions than its event.

    Example:
        >>> layers = nn.Sequential(nn.Linear(4, 9), nn.Unflatten(-1, (1, 3, 3)), nn.Conv2d(1, 2, 1))
        >>> decoder = AnyLeadingDims(layers, [1])
        >>> decoder(torch.zeros(7, 5, 4)).shape
        torch.Size([7, 5, 2, 3, 3])
    """

    def __init__(self, network: nn.Module, event_dims: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.event_dims = tuple(event_dims)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The network's output with the common leading dimensions of ``inputs``."""
        for tensor, dims in zip(inputs, self.event_dims, strict=True):
            if tensor.dim() < dims:
                raise ArgumentError(f"an input has shape {tuple(tensor.shape)}; expected at least {dims} dimensions")
        events = [t.shape[t.dim() - d :] for t, d in zip(inputs, self.event_dims, strict=True)]
        leading = torch.broadcast_shapes(
            *(t.shape[: t.dim() - d] for t, d in zip(inputs, self.event_dims, strict=True))
        )
        flat = (t.expand(leading + e).reshape(-1, *e) for t, e in zip(inputs, events, strict=True))
        output = self.network(*flat)
        return output.reshape(leading + output.shape[1:])
