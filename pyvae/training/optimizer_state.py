"""An optimizer's state and settings, as tensors and JSON."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyvae.errors import CheckpointError

__all__ = ["read_optimizer", "written_optimizer"]

_STATE, _SETTINGS = "optimizer", "settings"


def written_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What an optimizer knows, and the settings that a schedule may have changed, as tensors by name and as JSON.

    Tensors of the state are named ``optimizer/parameter/name``. Those among the settings, such as a learning rate, or
    deeper in the state, stand in the JSON as ``{"tensor": name}``; tuples as ``{"tuple": […]}``.

    Raises:
        CheckpointError: naming what is neither a tensor nor JSON.
    """
    written = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for index, entries in written["state"].items():
        numbers[str(index)] = {}
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"{_STATE}/{index}/{name}"] = value
            else:
                numbers[str(index)][name] = _plain(value, f"state/{index}/{name}", tensors)
    groups = [
        {name: _plain(value, f"{index}/{name}", tensors) for name, value in group.items()}
        for index, group in enumerate(written["param_groups"])
    ]
    return tensors, {"state": numbers, "param_groups": groups}


def _plain(value: object, name: str, tensors: dict[str, Tensor]) -> object:
    """A setting as JSON; its tensors are added to ``tensors``."""
    if isinstance(value, Tensor):
        tensors[f"{_SETTINGS}/{name}"] = value
        return {"tensor": name}
    if isinstance(value, list | tuple):
        items = [_plain(item, f"{name}/{place}", tensors) for place, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _plain(item, f"{name}/{key}", tensors) for key, item in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    where = "state of the optimizer" if name.startswith("state/") else "optimizer's settings"
    entry = name.removeprefix("state/").partition("/")[2]
    raise CheckpointError(
        f"the {where} cannot be saved: {entry!r} is {value!r}, a {type(value).__name__}; expected tensors, numbers, "
        "texts, and lists of them. Give the optimizer other settings, or train without checkpoint_dir"
    )


def read_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Take on what :func:`written_optimizer` gave. Tensors among the settings keep their place in memory."""
    of_state = {n.removeprefix(f"{_STATE}/"): t for n, t in tensors.items() if n.startswith(f"{_STATE}/")}
    of_settings = {n.removeprefix(f"{_SETTINGS}/"): t for n, t in tensors.items() if n.startswith(f"{_SETTINGS}/")}
    state = {
        int(index): {name: _restored(value, None, of_settings) for name, value in entries.items()}
        for index, entries in numbers["state"].items()
    }
    for key, tensor in of_state.items():
        index, _, name = key.partition("/")
        state[int(index)][name] = tensor
    groups = [
        {name: _restored(value, group.get(name), of_settings) for name, value in written.items()}
        for group, written in zip(optimizer.param_groups, numbers["param_groups"], strict=True)
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for group, settings in zip(optimizer.param_groups, groups, strict=True):  # torch has copied the settings
        group |= {name: value for name, value in settings.items() if name != "params"}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for key, tensor in of_state.items():  # torch casts some of the state to the type of the parameters
        index, _, name = key.partition("/")
        entry = optimizer.state[parameters[int(index)]]
        if entry[name].dtype != tensor.dtype:
            entry[name] = tensor.to(entry[name].device)


def _restored(value: object, current: object, tensors: Mapping[str, Tensor]) -> object:
    """What :func:`_plain` wrote, with the tensors of ``current``, which several groups may share, where it has them."""
    if isinstance(value, list):
        return [_restored(item, _item(current, place), tensors) for place, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(_restored(content, current, tensors))
    if kind == "dict":
        return {key: _restored(item, _item(current, key), tensors) for key, item in content.items()}
    tensor = tensors[content]
    if not isinstance(current, Tensor) or (current.shape, current.dtype) != (tensor.shape, tensor.dtype):
        return tensor
    with torch.no_grad():
        return current.copy_(tensor)


def _item(current: object, key: object) -> object:
    """An entry of a list, tuple or dict, if there is one."""
    try:
        return current[key]
    except (LookupError, TypeError):
        return None
