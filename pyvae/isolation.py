"""Blocks that leave no trace: random streams, train/eval modes and Pyro's param store are put back afterwards."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyro
import torch
from torch import nn

__all__ = ["derive_seed", "draw_seed", "evaluation_mode", "kept_modes", "own_parameters", "preserved_streams"]


@contextmanager
def preserved_streams(seed: int | None = None) -> Iterator[None]:
    """Run a block on the streams of ``seed`` and put the streams of torch, numpy and ``random`` back afterwards.

    Args:
        seed: the seed of the block; without one the block goes on with the streams as they are.

    Example:
        >>> import torch
        >>> before = torch.random.get_rng_state()
        >>> with preserved_streams(seed=0):
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
def kept_modes(module: nn.Module) -> Iterator[None]:
    """Put the train/eval mode of every submodule back afterwards."""
    modes = {submodule: submodule.training for submodule in module.modules()}
    try:
        yield
    finally:
        for submodule, mode in modes.items():
            submodule.training = mode


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every submodule's own mode and all buffers are put back afterwards."""
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    with kept_modes(module), torch.no_grad():
        module.eval()
        try:
            yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)


@contextmanager
def own_parameters(stray: Sequence[str] = ()) -> Iterator[None]:
    """Pyro's param store for one pair alone: empty, but for the named entries; put back afterwards.

    The store is shared by the whole process, and another model's entries of the same names would silently take the
    place of this one's.
    """
    store = pyro.get_param_store()
    state = store.get_state()
    kept = {kind: {n: entries[n] for n in stray if n in entries} for kind, entries in state.items()}
    with store.scope(state=kept):
        yield
