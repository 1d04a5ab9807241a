"""Random streams: isolated, and derived from a seed."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyro
import torch

from pyvae.core.arguments import check_seed

__all__ = ["derive_seed", "draw_seed", "isolated_rng", "seeded_rng"]


@contextmanager
def isolated_rng(seed: int | None = None) -> Iterator[None]:
    """Run a block on the streams of ``seed`` and put the streams of torch, numpy and ``random`` back afterwards.

    Args:
        seed: the seed of the block; without one the block goes on with the streams as they are.

    Example:
        >>> import torch
        >>> before = torch.random.get_rng_state()
        >>> with isolated_rng(seed=0):
        ...     _ = torch.randn(3)
        >>> bool((torch.random.get_rng_state() == before).all())
        True
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            if seed is not None:
                pyro.set_rng_seed(seed)
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def derive_seed(seed: int, *path: int) -> int:
    """A well-mixed 32-bit seed for the stream named by ``path`` under ``seed``.

    Streams derived so need no stored state: epoch 7 of a resumed run draws what epoch 7 would have drawn.
    """
    return int(np.random.SeedSequence([seed, *path]).generate_state(1)[0])


def draw_seed() -> int:
    """A fresh seed drawn from torch's global stream, so that ``pyro.set_rng_seed`` governs it."""
    return int(torch.randint(2**31, ()))


@contextmanager
def seeded_rng(seed: int | None) -> Iterator[int]:
    """A block on the streams of ``seed`` or, of None, on those of a seed drawn from torch's global stream; it is given.

    This is what ``seed=None`` means everywhere. Where the block fails, the global stream is as it was before the draw.

    Raises:
        ArgumentError: if it is no seed.
    """
    if seed is not None:
        check_seed(seed)
    before = torch.random.get_rng_state()
    chosen = draw_seed() if seed is None else seed
    try:
        with isolated_rng(chosen):
            yield chosen
    except BaseException:
        torch.random.set_rng_state(before)
        raise
