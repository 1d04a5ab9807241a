"""Quantization by rounding each dimension."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pyvae.core.arguments import check_int
from pyvae.errors import ArgumentError
from pyvae.quantizers.quantizer import Quantized, Quantizer, straight_through

__all__ = ["FiniteScalarQuantizer"]


class FiniteScalarQuantizer(Quantizer):
    r"""A quantizer without a codebook: each dimension is rounded to a few levels.

    .. math:: e_i = \operatorname{round}(b_i(z_i)) \,/\, \lfloor L_i / 2 \rfloor

    The function b_i of dimension i is bounded so that L_i values are possible.

    .. math:: b_i(z) = h_i \tanh(z + \tanh^{-1}(o_i / h_i)) − o_i, \quad h_i = (1 + ε) (L_i − 1) / 2,

    with o_i = ½ for even L_i and 0 for odd ones, so that 0 is always one of the values; ε = 10⁻³. Rounding has the
    identity for a derivative; b keeps its own. The code is the number Σ_i d_i ∏_{j<i} L_j whose digits
    d_i = round(b_i) + ⌊L_i / 2⌋ are. There is no codebook to learn, and the loss is 0.

    Args:
        levels: L, the numbers of values in each dimension, at least 3 each; their count is the vectors' length. The
            paper finds that each should be at least 5: (8, 5, 5, 5) for about 2¹⁰ codes, (8, 8, 8, 5, 5, 5) for 2¹⁶.

    Raises:
        ArgumentError: if ``levels`` is no such sequence, or if the codes do not fit into 63 bits.
        PairError: when called, if the vectors have another length.

    References:
        Mentzer et al., *Finite scalar quantization: VQ-VAE made simple*, 2023, section 3 and appendix A.1.

    Example:
        >>> quantizer = FiniteScalarQuantizer([8, 5, 5, 5])
        >>> quantizer.num_codes
        1000
        >>> quantized = quantizer(torch.tensor([9.0, 0.0, 0.0, -9.0]))
        >>> quantized.codes.item(), quantized.vectors.tolist()
        (103, [0.75, 0.0, 0.0, -1.0])
    """

    def __init__(self, levels: Sequence[int] = (8, 5, 5, 5)) -> None:
        super().__init__()
        if not isinstance(levels, list | tuple) or not levels:
            raise ArgumentError(f"levels is {levels!r}; expected a list of ints, such as [8, 5, 5, 5]")
        for index, level in enumerate(levels):
            check_int(f"levels[{index}]", level, minimum=3)
        self.dim, self.num_codes = len(levels), math.prod(levels)
        if self.num_codes >= 2**63:
            raise ArgumentError(f"levels is {levels!r}, which makes {self.num_codes} codes; expected less than 2**63")
        places = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self.register_buffer("widths", (self.levels // 2).float(), persistent=False)  # its dtype is that of the vectors
        self._levels = tuple(levels)

    def extra_repr(self) -> str:
        """The levels."""
        return f"levels={list(self._levels)}"

    def forward(self, z_e: Tensor) -> Quantized:
        """The rounded vectors and their codes; the loss is 0. A NaN is coded as 0 is, and stays a NaN."""
        self.check(z_e)
        bounded = self._bounded(z_e)
        digits = bounded.detach().nan_to_num().round().long() + self.widths.long()
        codes = (digits * self.places).sum(-1)
        vectors = straight_through(self.embed(codes), bounded / self.widths)
        return Quantized(codes, vectors, torch.zeros_like(vectors[..., 0]))

    def embed(self, codes: Tensor) -> Tensor:
        """The rounded vectors of int64 codes, of shape (…, dim)."""
        digits = codes[..., None] // self.places % self.levels
        return (digits - self.widths) / self.widths

    def _bounded(self, z_e: Tensor) -> Tensor:
        reach = (self.levels - 1).to(self.widths) * (1 + 1e-3) / 2
        offset = (1 - self.levels % 2).to(self.widths) / 2
        return reach * torch.tanh(z_e + torch.atanh(offset / reach)) - offset
