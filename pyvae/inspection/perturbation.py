"""Noise on parameters, for as long as a block runs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["is_repeated", "perturbed"]

_NOISE, _NOISE_OF_ZEROS = 0.05, 0.3


@contextmanager
def perturbed(parameters: Sequence[Tensor], seed: int) -> Iterator[None]:
    """A little noise on parameters, in place; they are put back bit by bit.

    Of zeros it is absolute, of other numbers relative: a scale stays positive.
    """
    data = [p.data for p in parameters]  # which autograd does not watch: views of the parameters stay valid
    kept = [p.clone() for p in data]
    generator = torch.Generator().manual_seed(seed)
    try:
        for p in data:
            noise = torch.randn(p.shape, generator=generator).to(p)
            p.add_(noise * torch.where(p == 0, _NOISE_OF_ZEROS, _NOISE * p))
        yield
    finally:
        for p, before in zip(data, kept, strict=True):
            p.copy_(before)


def is_repeated(parameter: Tensor) -> bool:
    """Whether it holds several numbers that are the same along a dimension, or is a single zero, as a gate may be."""
    if not parameter.is_floating_point() or parameter.layout != torch.strided:
        return False
    if parameter.numel() < 2:
        return bool((parameter == 0).all())
    return any(bool((parameter == parameter.narrow(d, 0, 1)).all()) for d in range(parameter.dim()))
