"""Quantization in levels, each of what the levels before have left over."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae.errors import ArgumentError
from pyvae.quantizers.quantizer import Quantized, Quantizer, straight_through
from pyvae.quantizers.vector_quantizer import VectorQuantizer

__all__ = ["ResidualQuantizer"]


class ResidualQuantizer(Quantizer):
    r"""A quantizer of several levels, each of which quantizes what the levels before leave over.

    .. math:: e = \sum_l e_{k_l}, \qquad k_l = \operatorname{argmin}_j \lVert r_l - e_j \rVert^2, \qquad
        r_1 = z_e, \qquad r_{l+1} = r_l - \operatorname{sg}[e_{k_l}]

    The loss is the sum of the levels' losses. L levels of K codes distinguish K^L vectors at the cost of L K.

    Args:
        quantizers: the levels; alike in ``num_codes`` and ``dim``, without linear maps of their own.

    Raises:
        ArgumentError: if the levels are none, or not such.
        PairError: when called, if the vectors have another length.

    References:
        Zeghidour et al., *SoundStream*, 2021, section III.C; Lee et al., *Autoregressive image generation using
        residual quantization*, 2022, section 3.1.

    Example:
        >>> quantizer = ResidualQuantizer([VectorQuantizer(16, dim=4, decay=0.99) for _ in range(3)])
        >>> quantized = quantizer(torch.randn(5, 10, 4))
        >>> quantized.codes.shape, quantized.vectors.shape, quantizer.code_shape((10,))
        (torch.Size([5, 10, 3]), torch.Size([5, 10, 4]), torch.Size([10, 3]))
    """

    def __init__(self, quantizers: Sequence[VectorQuantizer]) -> None:
        super().__init__()
        quantizers = list(quantizers)
        if not quantizers or not all(isinstance(q, VectorQuantizer) and q.project_in is None for q in quantizers):
            names = ", ".join(type(q).__name__ for q in quantizers) or "none"
            raise ArgumentError(f"quantizers are {names}; expected VectorQuantizers without code_dim")
        kinds = {(q.num_codes, q.dim) for q in quantizers}
        if len(kinds) > 1 or len(set(map(id, quantizers))) < len(quantizers):
            raise ArgumentError(
                f"quantizers have (num_codes, dim) {sorted(kinds)}; expected different ones of one num_codes and dim"
            )
        self.levels = nn.ModuleList(quantizers)
        ((self.num_codes, self.dim),) = kinds
        self.ema = any(q.ema for q in quantizers)

    def forward(self, z_e: Tensor) -> Quantized:
        """Each level's code, the sum of their vectors, and the sum of their losses."""
        self.check(z_e)
        residual, codes, losses = z_e, [], []
        for level in self.levels:
            quantized = level(residual)
            residual = residual - quantized.vectors.detach()
            codes.append(quantized.codes)
            losses.append(quantized.loss)
        codes = torch.stack(codes, -1)
        return Quantized(codes, straight_through(self.embed(codes), z_e), sum(losses))

    def embed(self, codes: Tensor) -> Tensor:
        """The sums of the code vectors of int64 codes of shape (…, levels), without a gradient."""
        return sum(level.embed(k) for level, k in zip(self.levels, codes.unbind(-1), strict=True))

    def code_shape(self, positions: Sequence[int]) -> torch.Size:
        """The shape of the codes, (\\*positions, levels)."""
        return torch.Size((*positions, len(self.levels)))

    def update(self, z_e: Tensor, codes: Tensor) -> None:
        """Make pending, in each level, the statistics of what the levels before have left over."""
        if not self.learning:
            return
        self.check(z_e, codes)
        residual = z_e.detach()
        for level, k in zip(self.levels, codes.unbind(-1), strict=True):
            level.update(residual, k)
            residual = residual - level.embed(k)

    def commit(self, step: Tensor | None) -> None:
        """Take over, in each level, what is pending."""
        for level in self.levels:
            level.commit(step)

    @torch.no_grad()
    def initialize(self, z_e: Tensor) -> None:
        """Move the codebooks to the centres of k-means, level by level.

        Raises:
            DataError: if fewer than ``num_codes`` of the vectors are finite.
        """
        self.check(z_e)
        for level in self.levels:
            level.initialize(z_e)
            z_e = z_e - level.embed(level(z_e).codes)
