"""A transformer that reads a grid of codes in raster order and predicts each code from those before it."""

from collections.abc import Generator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvae.core.arguments import as_shape, check_int
from pyvae.errors import ArgumentError
from pyvae.networks.code_network import CodeNetwork

__all__ = ["CausalTransformer"]


class _Block(nn.Module):
    """x + attention of x, then x + perceptron of x, each of the normalized x."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.queries_keys_values, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def attended(self, x: Tensor) -> list[Tensor]:
        """Queries, keys and values, each (rows, heads, places, dim / heads)."""
        parts = self.queries_keys_values(self.before_attention(x)).chunk(3, -1)
        return [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts]

    def after(self, x: Tensor, attention: Tensor) -> Tensor:
        """The next x, from the heads' attention."""
        x = x + self.out(attention.transpose(1, 2).flatten(2))
        return x + self.mlp(self.before_mlp(x))

    def forward(self, x: Tensor) -> Tensor:
        """The next x, (rows, places, dim)."""
        return self.after(x, F.scaled_dot_product_attention(*self.attended(x), is_causal=True))


class _Decoder(nn.Module):
    """The network for one batch dimension, rows × places, and the generator that samples from it."""

    def __init__(self, places: int, num_codes: int, dim: int, blocks: list[_Block], context_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_codes, dim)
        self.positions = nn.Parameter(0.1 * torch.randn(places, dim))
        self.start = nn.Linear(context_dim, dim) if context_dim else None
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, num_codes))

    def _first(self, rows: int, context: tuple[Tensor, ...]) -> Tensor:
        """What stands before the first code, (rows, dim); without context, it has only its position."""
        if self.start is None:
            return self.positions.new_zeros(rows, self.positions.shape[1])
        return self.start(*context)

    def forward(self, codes: Tensor, *context: Tensor) -> Tensor:
        """Logits of shape codes.shape + (num_codes,)."""
        before = self.embedding(codes.long().flatten(1)[:, :-1])
        x = torch.cat([self._first(len(codes), context)[:, None], before], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(x).reshape(*codes.shape, -1)

    def sampler(self, rows: int, *context: Tensor) -> Generator[Tensor, Tensor, None]:
        """Logits (rows, num_codes) of one place after the other, each for the codes (rows,) of the last one."""
        places, dim = self.positions.shape
        token = self._first(rows, context)
        heads = [block.heads for block in self.blocks]
        seen = [self.positions.new_zeros(2, rows, n, places, dim // n) for n in heads]
        for place in range(places):
            x = (token + self.positions[place])[:, None]
            for block, keys_values in zip(self.blocks, seen, strict=True):
                query, *new = block.attended(x)
                keys_values[:, :, :, place] = torch.stack(new)[:, :, :, 0]
                x = block.after(x, F.scaled_dot_product_attention(query, *keys_values[:, :, :, : place + 1]))
            codes = yield self.head(x[:, 0])
            token = self.embedding(codes)


class CausalTransformer(CodeNetwork):
    r"""A decoder-only transformer over a grid of codes: the logits of each code given those before it.

    .. math:: \ell_i = f_i(k_1, \dots, k_{i-1}, c), \qquad
        P(k_i \mid k_1, \dots, k_{i-1}, c) = \operatorname{softmax}(\ell_i)

    The grid, in raster order, is one sequence: the start token, a linear map of c, and the codes but
    the last are embedded, each place has a learned position, and each place attends to itself and those before it.

    Args:
        shape: that of the grid, of any number of dimensions.
        num_codes: K.
        dim: length of the embeddings.
        heads: the number of heads of the attention, a divisor of ``dim``.
        layers: the number of blocks of attention and perceptron.
        context_dim: length of a context vector c, such as a class; 0 for none.

    Raises:
        ArgumentError: if an argument is out of range; when called, if codes or context have another shape.
        DataError: when called with codes that are not integers.

    References:
        Vaswani et al., *Attention is all you need*, 2017, section 3; Radford et al., *Language models are
        unsupervised multitask learners*, 2019, section 2.3 (normalization before each part).

    Example:
        >>> network = CausalTransformer((7, 7), num_codes=16, dim=8, heads=2, context_dim=10)
        >>> network(torch.zeros(5, 2, 7, 7, dtype=torch.long), torch.zeros(2, 10)).shape
        torch.Size([5, 2, 7, 7, 16])
    """

    def __init__(
        self,
        shape: int | Sequence[int],
        num_codes: int,
        dim: int = 64,
        heads: int = 4,
        layers: int = 2,
        context_dim: int = 0,
    ) -> None:
        shape = as_shape(shape, "shape")
        for name, value in (("num_codes", num_codes), ("dim", dim), ("heads", heads), ("layers", layers)):
            check_int(name, value)
        check_int("context_dim", context_dim, 0)
        if dim % heads:
            raise ArgumentError(f"dim is {dim} and heads {heads}; expected a multiple of heads")
        blocks = [_Block(dim, heads) for _ in range(layers)]
        decoder = _Decoder(shape.numel(), num_codes, dim, blocks, context_dim)
        super().__init__(decoder, shape, num_codes, [torch.Size([context_dim])] if context_dim else [])
