"""What the programs of a pair can read besides tensors: the Python attributes of its modules."""

from collections.abc import Hashable
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution

__all__ = ["PythonState"]

_VALUES = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"training"}


class PythonState:
    """The attributes of all submodules as they are now, so that a change can be seen, and undone.

    Numbers and strings count by value, inside lists, dicts and distributions too; everything else by identity.

    Attributes:
        key: hashable; equal as long as nothing has changed.
    """

    def __init__(self, module: nn.Module) -> None:
        self._saved: list[tuple[dict, dict]] = []
        self.key = tuple(
            (name, key, self._frozen(value))
            for name, submodule in module.named_modules()
            for key, value in self._attributes(submodule).items()
            if key not in _OF_EVERY_MODULE
        )

    def _attributes(self, owner: object) -> dict[str, Any]:
        attributes = vars(owner)
        self._saved.append((attributes, dict(attributes)))
        return attributes

    def _frozen(self, value: Any) -> Hashable:
        if isinstance(value, _VALUES):
            return type(value), value
        if isinstance(value, list | tuple):
            return type(value), tuple(map(self._frozen, value))
        if isinstance(value, dict):
            return dict, tuple((key, self._frozen(entry)) for key, entry in value.items())
        if isinstance(value, Distribution):
            return type(value), self._frozen(self._attributes(value))
        return type(value), id(value)

    def difference(self, other: "PythonState") -> str | None:
        """The name of an attribute that is not as in ``other``, or None."""
        here, there = ({entry[:2]: entry[2] for entry in state.key} for state in (self, other))
        changed = [k for k in here.keys() | there.keys() if here.get(k) != there.get(k)]
        return ".".join(filter(None, min(changed))) if changed else None

    def restore(self) -> None:
        """Put all attributes back."""
        for attributes, saved in self._saved:
            attributes.clear()
            attributes.update(saved)
