"""Faster and guided sampling from a diffusion."""

from numbers import Real

import torch
from torch import Tensor

from pyvae.core.arguments import check_int
from pyvae.core.modules import evaluation_mode
from pyvae.errors import ArgumentError
from pyvae.models.arguments import count_data
from pyvae.models.diffusion import DiffusionVAE
from pyvae.models.forward_process import ForwardProcess

__all__ = ["denoise"]


def denoise(
    diffusion: DiffusionVAE,
    size: int = 1,
    y: Tensor | None = None,
    steps: int | None = None,
    eta: float = 0.0,
    guidance: float = 0.0,
) -> Tensor:
    r"""Samples of a diffusion by DDIM, in fewer steps than T, and with classifier-free guidance.

    From x_T ~ N(0, I) down a part of the steps, t to the next lower s:
    x_s = √ᾱ_s x̂_0 + √(1 − ᾱ_s − σ²) ε̂ + σ ε, σ² = η² (1 − ᾱ_s) / (1 − ᾱ_t) (1 − ᾱ_t / ᾱ_s). With η = 0 the path is
    determined by x_T; with η = 1 and all T steps it is ancestral sampling with the variances β̃_t. Guidance g replaces
    x̂_0(y) by x̂_0(y) + g (x̂_0(y) − x̂_0(no label)), which trades variety for likeness to the class.

    These are samples of no exact model: for figures, use the pair itself. They follow torch's global random stream.

    Args:
        diffusion: the chain.
        size: how many, without labels.
        y: labels, one per draw.
        steps: how many steps to take, spread evenly over 1 … T; all by default.
        eta: η, 0 to 1.
        guidance: g; 0 for none.

    Returns:
        x_0, (size,) + event shape, in the units of the data: means of the last step, within [0, 1] for data on a grid.

    Raises:
        ArgumentError: if an argument is out of range, or guidance is asked for without labels.

    References:
        Song, Meng and Ermon, *Denoising diffusion implicit models*, 2021, equations 12 and 16; Ho and Salimans,
        *Classifier-free diffusion guidance*, 2022, equation 6.

    Example:
        >>> from pyvae import networks
        >>> pair = DiffusionVAE(networks.TimeMLP(2), event_shape=2, schedule=networks.CosineNoise(100))
        >>> denoise(pair, size=3, steps=5).shape
        torch.Size([3, 2])
    """
    if not isinstance(diffusion, DiffusionVAE):
        raise ArgumentError(
            f"got a {type(diffusion).__name__}; expected a DiffusionVAE (of a SingleStep, its .diffusion)"
        )
    if not isinstance(eta, Real) or not 0 <= eta <= 1:
        raise ArgumentError(f"eta is {eta!r}; expected a number from 0 to 1")
    if guidance and y is None:
        raise ArgumentError("guidance needs labels y")
    with evaluation_mode(diffusion):
        process = diffusion.process()
        count = process.steps if steps is None else steps
        check_int("steps", count)
        if count > process.steps:
            raise ArgumentError(f"steps is {count}; the diffusion has {process.steps}")
        x = process.log_snr.new_empty(count_data(None, y, size), *diffusion.event_shape).normal_()
        times = torch.linspace(process.steps, 1, count).round().int().tolist() if count > 1 else [process.steps]
        for t, s in zip(times, [*times[1:], 0], strict=True):
            x_0 = _guess(diffusion, process, x, t, y, guidance)
            x = x_0 if s == 0 else _towards(process, x, x_0, t, s, eta)
        return x if diffusion.levels is None else ((x + 1) / 2).clamp(0, 1)


def _guess(
    diffusion: DiffusionVAE, process: ForwardProcess, x: Tensor, t: int, y: Tensor | None, guidance: float
) -> Tensor:
    """x̂_0, guided, and within the range of data on a grid."""
    x_0 = diffusion.predict(process, x, t, diffusion.labels(y))[0]
    if guidance:
        x_0 = x_0 + guidance * (x_0 - diffusion.predict(process, x, t, diffusion.labels(None))[0])
    return x_0 if diffusion.levels is None else x_0.clamp(-1, 1)


def _towards(process: ForwardProcess, x: Tensor, x_0: Tensor, t: int, s: int, eta: float) -> Tensor:
    """From x_t to x_s."""
    noise = (x - process.signal(t) * x_0) / process.noise(t)
    kept = (process.signal(t) / process.signal(s)).square()
    variance = eta**2 * (process.noise(s) / process.noise(t)).square() * (1 - kept)
    direction = (process.noise(s).square() - variance).clamp(min=0).sqrt()
    return process.signal(s) * x_0 + direction * noise + variance.sqrt() * torch.randn_like(x)
