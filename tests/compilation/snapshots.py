"""The whole state that recording a pair must leave alone."""

import random
from collections.abc import Mapping

import numpy as np
import pyro
import torch

from pyvae.core.torch_internals import FakeTensor


def snapshot(pair):
    """By name: attributes by value where they are containers or numbers, else by identity; tensors by both."""
    state = {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1],
        "python": random.getstate(),
        "store": {n: id(p) for n, p in pyro.get_param_store().get_state()["params"].items()},
        "modules": [(n, id(m)) for n, m in pair.named_modules()],
        "modes": [m.training for m in pair.modules()],
        "requires_grad": [p.requires_grad for p in pair.parameters()],
        "grad": [(id(p.grad), None if p.grad is None else p.grad.clone()) for p in pair.parameters()],
        "tensors": [(id(t), t.detach().clone()) for t in (*pair.parameters(), *pair.buffers())],
    }
    for name, module in pair.named_modules():
        state[f"attributes of {name}"] = {k: _copied(v) for k, v in vars(module).items() if not k.startswith("_")}
    return state


def _copied(value):
    if isinstance(value, torch.Tensor):
        return id(value), value.detach().clone()
    if isinstance(value, list | tuple | set | frozenset):
        return type(value), [_copied(v) for v in value]
    if isinstance(value, dict):
        return dict, {k: _copied(v) for k, v in value.items()}
    return value if isinstance(value, int | float | str) else id(value)


def assert_unchanged(pair, before):
    after = snapshot(pair)
    assert after.keys() == before.keys()
    for name, value in before.items():
        assert _equal(value, after[name]), f"{name}: {value} became {after[name]}"
    assert not list(fakes(pair))


def _equal(a, b):
    if isinstance(a, torch.Tensor | np.ndarray):
        return type(a) is type(b) and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return a == b


def fakes(pair):
    """The names of fake tensors in attributes of modules, in lists and dicts of theirs, and in gradients."""
    for name, module in pair.named_modules():
        for key, value in vars(module).items():
            yield from (f"{name}.{key}" for v in _leaves(value) if isinstance(v, FakeTensor))
    store = pyro.get_param_store()
    yield from (n for n, p in store.get_state()["params"].items() if isinstance(p, FakeTensor))


def _leaves(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        for entry in value:
            yield from _leaves(entry)
    if isinstance(value, torch.Tensor):
        yield value
        yield value.grad if value.is_leaf else None
