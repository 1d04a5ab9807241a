"""A gated PixelCNN: the logits of each code of a grid, from the codes before it."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvae.core.arguments import as_shape, check_int
from pyvae.errors import ArgumentError
from pyvae.networks.code_network import CodeNetwork

__all__ = ["PixelCNN"]


def _gate(x: Tensor) -> Tensor:
    signal, gate = x.chunk(2, 1)
    return signal.tanh() * gate.sigmoid()


class _GatedLayer(nn.Module):
    """Both stacks by one layer: v sees the rows above, h the row to the left and v; a lone row has no v."""

    def __init__(self, channels: int, kernel: tuple[int, int], dilation: int, context: tuple[int, int]) -> None:
        super().__init__()
        self.half, self.dilation = kernel[0] // 2, dilation
        self.reach = dilation * (kernel[1] - 1)
        self.vertical = self.link = None
        if kernel[0]:
            self.vertical = nn.Conv2d(channels, 2 * channels, (self.half + 1, kernel[0]), bias=False)
            self.link = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
        self.horizontal = nn.Conv2d(channels, 2 * channels, (1, kernel[1]), dilation=(1, dilation), bias=False)
        self.out = nn.Conv2d(channels, channels, 1)
        biases = (4 if kernel[0] else 2) * channels
        self.bias = nn.Parameter(torch.zeros(biases, 1, 1))
        self.vector = nn.Linear(context[0], biases, bias=False) if context[0] else None
        self.features = nn.Conv2d(context[1], biases, 1, bias=False) if context[1] else None

    def biases(self, size: tuple[int, int], *context: Tensor) -> list[Tensor]:
        """What the context adds to each place, for h and, if there is one, v: (rows or 1, 2 channels) + size each."""
        total, context = self.bias[None], list(context)
        if self.vector is not None:
            total = total + self.vector(context.pop(0))[:, :, None, None]
        if self.features is not None:
            total = total + self.features(context.pop(0))
        return list(total.expand(-1, -1, *size).split(2 * self.out.in_channels, 1))

    def forward(self, v: Tensor, h: Tensor, biases: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The next v and h, of shape (rows, channels, height, width) as the last."""
        pre = self.horizontal(F.pad(h, (self.reach, 0))) + biases[0]
        if self.vertical is not None:
            v, above = self.row(F.pad(v, (0, 0, self.half, 0)), biases[1])
            pre = pre + above
        return v, h + self.out(_gate(pre))

    def row(self, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The next v, and what it adds to h, from a v of ``half`` more rows."""
        above = self.vertical(F.pad(v, (self.half, self.half))) + bias
        return _gate(above), self.link(above)

    def pixel(self, h: Tensor, history: Tensor, column: int, kernel: Tensor, bias: Tensor) -> Tensor:
        """The next h at one column, (rows, channels); ``history`` has ``reach`` zeros and the row's h so far."""
        history[:, self.reach + column] = h
        taps = history[:, column : column + self.reach + 1 : self.dilation]
        pre = torch.addmm(bias, taps.flatten(1), kernel)
        return h + F.linear(_gate(pre), self.out.weight[:, :, 0, 0], self.out.bias)


class _Stacks(nn.Module):
    """The network for one batch dimension, rows × height × width, and the generator that samples from it."""

    def __init__(self, size: tuple[int, int], num_codes: int, channels: int, layers: list[_GatedLayer]) -> None:
        super().__init__()
        self.size = size
        self.embedding = nn.Embedding(num_codes, channels)
        self.layers = nn.ModuleList(layers)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, num_codes))

    def _biases(self, context: tuple[Tensor, ...]) -> list[list[Tensor]]:
        grids = [c if c.dim() == 2 else c.reshape(*c.shape[:2], *self.size) for c in context]
        return [layer.biases(self.size, *grids) for layer in self.layers]

    def forward(self, codes: Tensor, *context: Tensor) -> Tensor:
        """Logits of shape codes.shape + (num_codes,)."""
        embedded = self.embedding(codes.long().reshape(-1, *self.size)).movedim(-1, 1)
        # moved on by a row or a column, a place and all layers above it know only what was before
        v, h = F.pad(embedded, (0, 0, 1, -1)), F.pad(embedded, (1, -1))
        for layer, biases in zip(self.layers, self._biases(context), strict=True):
            v, h = layer(v, h, biases)
        return self.head(h.movedim(1, -1)).reshape(*codes.shape, -1)

    def sampler(self, rows: int, *context: Tensor) -> Generator[Tensor, Tensor, None]:
        """Logits (rows, num_codes) of one place after the other, each for the codes (rows,) of the last one."""
        zeros = self.embedding.weight.new_zeros
        biases, channels, width = self._biases(context), self.embedding.embedding_dim, self.size[1]
        kernels = [layer.horizontal.weight[:, :, 0].permute(2, 1, 0).flatten(0, 1) for layer in self.layers]
        tops = [zeros(rows, channels, layer.half + 1, width) for layer in self.layers]
        row = zeros(rows, channels, 1, width)
        for y in range(self.size[0]):
            here = [[b[:, :, y : y + 1] for b in bs] for bs in biases]
            tops, totals = self._next_row(row, tops, here)
            histories = [zeros(rows, layer.reach + width, channels) for layer in self.layers]
            left = zeros(rows, channels)
            for x in range(width):
                h = left
                for layer, history, kernel, total in zip(self.layers, histories, kernels, totals, strict=True):
                    h = layer.pixel(h, history, x, kernel, total[:, x])
                codes = yield self.head(h)
                left = row[:, :, 0, x] = self.embedding(codes)

    def _next_row(
        self, row: Tensor, tops: list[Tensor], biases: list[list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The last rows of each layer's v with a new one, and all that is added to a row of each layer's h."""
        totals, grown = [], []
        for layer, top, (total, *bias) in zip(self.layers, tops, biases, strict=True):
            if layer.vertical is not None:
                grown.append(torch.cat([top[:, :, 1:], row], 2))
                row, above = layer.row(grown[-1], *bias)
                total = total + above
            totals.append(total[:, :, 0].movedim(1, 2).contiguous())
        return grown or tops, totals


class PixelCNN(CodeNetwork):
    r"""A gated PixelCNN over a grid of codes: the logits of each code given those before it.

    .. math:: \ell_i = f_i(k_1, \dots, k_{i-1}, c), \qquad
        P(k_i \mid k_1, \dots, k_{i-1}, c) = \operatorname{softmax}(\ell_i)

    The order is that of rows, from top to bottom.

    The codes are embedded and go through two stacks of gated convolutions, tanh(a) · σ(b): v sees the rows above, as
    wide as its kernels reach, and h the places to the left and v, so that together they have no blind spot. With
    kernel size s and L layers, a place sees ⌊s/2⌋ L + 1 places in each of the two directions. A grid of one row, (L,),
    has h alone, with s taps and dilations 1, 2, 4, … (and again from 1 where they would exceed the row): with s = 3,
    six layers see 127 places.

    Args:
        shape: that of the grid, (height, width) or (length,).
        num_codes: K.
        channels: channels of each stack.
        layers: L.
        kernel_size: s, odd, at least 3.
        context_dim: length of a context vector, such as a class; 0 for none.
        context_channels: channels of a context grid of the same shape, such as an upper level, which comes after the
            vector; 0 for none. A place sees
            the context of its own, of its row and of the rows above within its reach, but of none below: a network
            that looks there belongs before this one.

    Raises:
        ArgumentError: if an argument is out of range; when called, if codes or context have another shape.
        DataError: when called with codes that are not integers.

    References:
        Van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves and Kavukcuoglu, *Conditional image generation with
        PixelCNN decoders*, 2016, sections 2.1 to 2.3.

    Example:
        >>> network = PixelCNN((7, 7), num_codes=16, channels=8, layers=2, context_dim=10)
        >>> network(torch.zeros(5, 2, 7, 7, dtype=torch.long), torch.zeros(2, 10)).shape
        torch.Size([5, 2, 7, 7, 16])
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        num_codes: int,
        channels: int = 64,
        layers: int = 6,
        kernel_size: int = 3,
        context_dim: int = 0,
        context_channels: int = 0,
    ) -> None:
        shape = as_shape(shape, "shape")
        for name, value in (("num_codes", num_codes), ("channels", channels), ("layers", layers)):
            check_int(name, value)
        for name, value in (("context_dim", context_dim), ("context_channels", context_channels)):
            check_int(name, value, 0)
        check_int("kernel_size", kernel_size, 3)
        if len(shape) > 2 or kernel_size % 2 == 0:
            raise ArgumentError(
                f"shape is {tuple(shape)} and kernel_size {kernel_size}; expected (height, width) or (length,), "
                "and an odd size"
            )
        vector, grid = torch.Size([context_dim]), torch.Size([context_channels, *shape])
        size = (1, *shape)[-2:]
        kernel = (kernel_size, kernel_size // 2 + 1) if size[0] > 1 else (0, kernel_size)
        cycle = 1 if size[0] > 1 else max(1, (size[1] - 1).bit_length())
        dilations = [2 ** (layer % cycle) for layer in range(layers)]
        stacks = [_GatedLayer(channels, kernel, d, (context_dim, context_channels)) for d in dilations]
        network = _Stacks(size, num_codes, channels, stacks)
        super().__init__(network, shape, num_codes, [s for s in (vector, grid) if s[0]])
