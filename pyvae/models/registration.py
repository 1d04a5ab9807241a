"""Names for pairs in Pyro's param store."""

import itertools
import weakref

import pyro
from torch import nn

__all__ = ["register"]

_numbers = itertools.count()
_names: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()


def register(pair: nn.Module) -> None:
    """Register a pair's parameters with Pyro under a name that no other instance holds.

    Two modules registered under one name train only the first, silently. The name belongs to the instance, not to its
    class or to its state, so that copies and unpickled pairs get their own.

    Example:
        >>> before = len(pyro.get_param_store())
        >>> register(nn.Linear(1, 1)); register(nn.Linear(1, 1))
        >>> len(pyro.get_param_store()) - before
        4
    """
    if pair not in _names:
        _names[pair] = f"{type(pair).__name__}_{next(_numbers)}"
    pyro.module(_names[pair], pair)
