"""Codebooks with known vectors, and what they must find."""

import torch

from pyvae.quantizers import VectorQuantizer


def brute_force(z, codebook):
    return (z[..., None, :].double() - codebook.double()).square().sum(-1).argmin(-1)


def with_codebook(codebook, **kwargs):
    quantizer = VectorQuantizer(*codebook.shape, **kwargs)
    with torch.no_grad():
        quantizer.codebook.copy_(codebook)
        if quantizer.ema:
            quantizer.sums.copy_(codebook)
    return quantizer


def one_step(quantizer, z_e):
    codes = quantizer(z_e).codes
    quantizer.update(z_e, codes)
    quantizer.advance()
    return codes
