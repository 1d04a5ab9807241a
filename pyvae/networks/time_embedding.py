"""Vectors for the steps of a diffusion or a flow."""

import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_int
from pyvae.errors import ArgumentError

__all__ = ["TimeEmbedding"]


class TimeEmbedding(nn.Module):
    r"""A sinusoidal embedding of time steps, followed by a perceptron.

    .. math:: e(t) = W_2 \, \mathrm{SiLU}(W_1 [\sin \omega_k t, \cos \omega_k t]_k + b_1) + b_2, \qquad
        \omega_k = 10000^{-2k/d}, \quad k = 0, \dots, d/2 - 1

    Sines of many frequencies tell apart both neighbouring and distant steps. They are made for steps 0, 1, …, 1000;
    a time in [0, 1] is better multiplied by 1000 first, as else only the highest frequencies vary.

    Args:
        dim: d, the length of the vectors; even, as each frequency gives a sine and a cosine.

    Raises:
        ArgumentError: if ``dim`` is not an even int of at least 4; when called, if t is not a tensor.

    References:
        Vaswani et al., *Attention is all you need*, 2017, section 3.5; Ho, Jain and Abbeel, *Denoising diffusion
        probabilistic models*, 2020, appendix B.

    Example:
        >>> TimeEmbedding(16)(torch.tensor([0, 10, 999])).shape
        torch.Size([3, 16])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        check_int("the dim of an embedding of t", dim, minimum=4)
        if dim % 2:
            raise ArgumentError(
                f"the dim of an embedding of t is {dim}; expected an even int, for one sine and cosine per frequency"
            )
        self.dim = dim
        self.layers = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor) -> Tensor:
        """Vectors of shape (…, dim) for steps t, integer or real, of shape (…)."""
        if not isinstance(t, Tensor):
            raise ArgumentError(f"t is a {type(t).__name__}; expected a tensor, such as torch.tensor(10)")
        weight = self.layers[0].weight
        # half precision cannot tell step 999 from 1000, so the angles are at least single precision
        angle_dtype = torch.promote_types(weight.dtype, torch.float32)
        # made at each call: a buffer of single precision would stay so rounded after network.double()
        exponents = torch.arange(0, self.dim, 2, dtype=angle_dtype, device=weight.device) / self.dim
        angles = t.to(angle_dtype)[..., None] * 10000.0**-exponents
        return self.layers(torch.cat([angles.sin(), angles.cos()], -1).to(weight.dtype))
