"""Blocks that leave a module, and Pyro's param store, as they were."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyro
import torch
from torch import nn

from pyvae.core.random_streams import isolated_rng

__all__ = ["as_before_on_error", "at_rest", "evaluation_mode", "isolated_param_store", "restored_modes"]


@contextmanager
def restored_modes(module: nn.Module) -> Iterator[None]:
    """Put the train/eval mode of every submodule back afterwards."""
    modes = {submodule: submodule.training for submodule in module.modules()}
    try:
        yield
    finally:
        for submodule, mode in modes.items():
            submodule.training = mode


@contextmanager
def as_before_on_error(module: object) -> Iterator[None]:
    """If the block fails, forget the attributes, parameters and submodules that modules have taken on in it.

    Guides such as Pyro's make their parameters at their first run, for as many rows as they see there.
    """
    modules = list(module.modules()) if isinstance(module, nn.Module) else []
    kept = [{name: dict(value) if type(value) is dict else value for name, value in vars(m).items()} for m in modules]
    try:
        yield
    except BaseException:
        for m, attributes in zip(modules, kept, strict=True):
            vars(m).clear()
            vars(m).update(attributes)
        raise


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every submodule's own mode and all buffers are put back afterwards."""
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    with restored_modes(module), torch.no_grad():
        module.eval()
        try:
            yield
        finally:
            for buffer, before in buffers:
                buffer.copy_(before)


@contextmanager
def isolated_param_store(stray: Sequence[str] = ()) -> Iterator[None]:
    """Pyro's param store for one pair alone: empty, but for the named entries; put back afterwards.

    The store is shared by the whole process, and another model's entries of the same names would silently take the
    place of this one's.
    """
    store = pyro.get_param_store()
    state = store.get_state()
    kept = {kind: {n: entries[n] for n in stray if n in entries} for kind, entries in state.items()}
    with store.scope(state=kept):
        yield


@contextmanager
def at_rest(module: nn.Module, stray: Sequence[str] = (), seed: int | None = None) -> Iterator[None]:
    """A block that runs a pair and leaves no trace: evaluation mode, a param store and random streams of its own.

    Args:
        module: the pair.
        stray: as for :func:`isolated_param_store`.
        seed: as for :func:`pyvae.core.random_streams.isolated_rng`.
    """
    with evaluation_mode(module), isolated_param_store(stray), isolated_rng(seed):
        yield
