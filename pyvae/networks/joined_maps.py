"""Maps of two grids, brought together on the finer one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvae.core.arguments import as_shape, check_int
from pyvae.networks.leading_dims import AnyLeadingDims
from pyvae.networks.shapes import check_event

__all__ = ["JoinedMaps"]


class JoinedMaps(nn.Module):
    r"""A network that joins feature maps of two resolutions on the finer grid.

    .. math:: (a, b, c) \mapsto f(W [a, U b], c)

    The coarse maps b are stretched by U to the grid of the fine maps a.

    What a VQ-VAE of several levels needs of its networks: a guide of the bottom that sees the top, a decoder of both.

    Args:
        fine: channels of a.
        coarse: channels of b.
        out_channels: of the joined maps.
        grid: that of a.
        network: f, called as ``network(maps, *context)``; None for the maps themselves.

    Raises:
        ArgumentError: if a number of channels is not positive; when called, if a has another shape.

    References:
        Razavi, van den Oord and Vinyals, *Generating diverse high-fidelity images with VQ-VAE-2*, 2019, section 3.1.

    Example:
        >>> network = JoinedMaps(3, 4, 5, grid=(8, 8))
        >>> network(torch.zeros(7, 3, 8, 8), torch.zeros(7, 4, 4, 4)).shape
        torch.Size([7, 5, 8, 8])
    """

    def __init__(
        self, fine: int, coarse: int, out_channels: int, grid: Sequence[int], network: nn.Module | None = None
    ) -> None:
        super().__init__()
        for name, value in (("fine", fine), ("coarse", coarse), ("out_channels", out_channels)):
            check_int(name, value)
        self.fine, self.grid = fine, as_shape(grid, "grid")
        dims = 1 + len(self.grid)
        self.joined = AnyLeadingDims(_Joined(fine + coarse, out_channels), [dims, dims])
        self.network = network

    def forward(self, a: Tensor, b: Tensor, *context: Tensor) -> Tensor:
        """The output of f for the joined maps, (…, out_channels) + grid."""
        check_event(self, a, (self.fine, *self.grid))
        maps = self.joined(a, b)
        return maps if self.network is None else self.network(maps, *context)


class _Joined(nn.Module):
    """W [a, U b] on a flat batch."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, out_channels)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        both = torch.cat([a, F.interpolate(b, size=a.shape[2:])], 1)
        return self.linear(both.movedim(1, -1)).movedim(-1, 1)
