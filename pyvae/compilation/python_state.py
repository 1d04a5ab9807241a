"""The Python state that a pair's programs can read besides tensors: the attributes of its modules."""

from collections.abc import Hashable
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution

from pyvae.core.torch_internals import MODULE_ATTRIBUTES

__all__ = ["PythonState"]

_VALUES = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
_CONTAINERS = (list, dict, set)


class _Same:
    """An object that is equal to itself alone; held, so that no other one can take its address."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)


class PythonState:
    """The attributes of all submodules as they are now, so that a change can be seen, and undone.

    Numbers and strings count by value, inside lists, dicts and sets too; everything else by identity.

    Attributes:
        key: hashable; equal as long as nothing has changed.
    """

    def __init__(self, module: nn.Module) -> None:
        self._saved: list[tuple[Any, Any]] = []
        self.key = tuple(
            entry for name, submodule in module.named_modules() for entry in self._entries(name, submodule)
        )

    def _entries(self, name: str, submodule: nn.Module) -> list[Hashable]:
        attributes = vars(submodule)
        self._saved.append((attributes, dict(attributes)))
        own = [(name, k, self._frozen(v)) for k, v in attributes.items() if k not in MODULE_ATTRIBUTES]
        return [(name, "", _Same(submodule)), *own]

    def _frozen(self, value: Any) -> Hashable:
        if isinstance(value, _VALUES):
            return type(value), value
        if isinstance(value, _CONTAINERS):
            self._saved.append((value, value.copy()))
        if isinstance(value, list | tuple):
            return type(value), tuple(map(self._frozen, value))
        if isinstance(value, dict):
            return dict, tuple((_Same(key), self._frozen(entry)) for key, entry in value.items())
        if isinstance(value, set):
            return set, frozenset(map(self._frozen, value))
        if isinstance(value, Distribution):  # keeps what it computes when it is first asked: no change, but put back
            self._saved.append((vars(value), dict(vars(value))))
        return type(value), _Same(value)

    def difference(self, other: "PythonState") -> str | None:
        """The name of an attribute that is not as in ``other``, or None."""
        here, there = ({entry[:2]: entry[2] for entry in state.key} for state in (self, other))
        changed = [k for k in here.keys() | there.keys() if here.get(k) != there.get(k)]
        return ".".join(filter(None, min(changed))) if changed else None

    def restore(self) -> None:
        """Put all attributes, and what they contain, back."""
        for container, saved in self._saved:
            container.clear()
            container.extend(saved) if isinstance(container, list) else container.update(saved)
