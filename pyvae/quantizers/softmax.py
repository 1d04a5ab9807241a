"""Codes that are drawn, the nearer ones more often."""

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvae.core.arguments import check_int, check_positive
from pyvae.quantizers.quantizer import Quantized, Quantizer, nearest_codes, straight_through

__all__ = ["SoftmaxQuantizer"]


class SoftmaxQuantizer(Quantizer):
    r"""A quantizer that samples its codes, so that the pair is a VAE like any other.

    .. math:: q(k = j \mid z_e) \propto \exp(-\lVert z_e - e_j \rVert^2 / \tau)

    Its ELBO has the entropy of q, its importance weights are sound, and its gradient is without bias: Pyro's objectives
    take the score function's for what is drawn, which ∇ log q(k | z_e) brings to the encoder, and the likelihood's own
    for the code vectors. There is no straight-through estimate and no loss besides. The variance grows with the number
    of codes per datapoint: take several particles, or objectives with baselines (``TraceGraph_ELBO``).

    Called by itself it gives the nearest codes, those of the highest probability.

    Args:
        num_codes: K, the number of code vectors.
        dim: length of z_e.
        temperature: τ.

    Raises:
        ArgumentError: for an argument out of its range.
        PairError: when called, if the vectors have another length.

    References:
        Sønderby, Poole and Mnih, *Continuous relaxation training of discrete latent variable image models*, 2017,
        section 2 (softmax codes); Williams, *Simple statistical gradient-following algorithms*, 1992.

    Example:
        >>> quantizer = SoftmaxQuantizer(num_codes=8, dim=3, temperature=0.5)
        >>> quantizer(torch.randn(5, 4, 3)).posterior.sample().shape
        torch.Size([5, 4])
    """

    stochastic = True

    def __init__(self, num_codes: int, dim: int, temperature: float = 1.0) -> None:
        super().__init__()
        check_int("num_codes", num_codes)
        check_int("dim", dim)
        check_positive("temperature", temperature)
        self.num_codes, self.dim, self.temperature = num_codes, dim, temperature
        self.embedding = nn.Embedding(num_codes, dim)

    def extra_repr(self) -> str:
        """The temperature."""
        return f"temperature={self.temperature}"

    def forward(self, z_e: Tensor) -> Quantized:
        """The nearest codes and their vectors, and the distribution of codes; the loss is 0."""
        self.check(z_e)
        codes = nearest_codes(z_e, self.embedding.weight)
        distances = (z_e.unsqueeze(-2) - self.embedding.weight).square().sum(-1)
        # a NaN shows where codes are drawn, or in the loss; their nearest codes are codes all the same
        posterior = dist.Categorical(logits=-distances / self.temperature, validate_args=False)
        vectors = straight_through(self.embed(codes), z_e)
        return Quantized(codes, vectors, torch.zeros_like(vectors[..., 0]), posterior)

    def embed(self, codes: Tensor) -> Tensor:
        """The code vectors of int64 codes, of shape (…, dim), without a gradient."""
        return F.embedding(codes, self.embedding.weight.detach())

    def chosen(self, codes: Tensor) -> Tensor:
        """The same with a gradient."""
        return self.embedding(codes)
