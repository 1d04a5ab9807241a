"""What differs between two configurations, setting by setting."""

import textwrap
from collections.abc import Mapping
from typing import Any

__all__ = ["differences", "told_differences"]


def differences(now: Any, was: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """The settings that differ between two configurations of JSON, by their paths: what they are now, and were.

    A class and its arguments are ``{"class_path": …, "init_args": {…}}``, as jsonargparse has them; of another class,
    the arguments are no matter.

    Example:
        >>> normal = {"class_path": "Normal", "init_args": {"scale": 1.0}}
        >>> differences({"p": normal, "dim": 2}, {"p": normal | {"init_args": {"scale": 0.5}}, "dim": 2})
        {'p.scale': (1.0, 0.5)}
    """
    if now == was:
        return {}
    if not (isinstance(now, Mapping) and isinstance(was, Mapping)):
        return {path: (_name(now), _name(was))}
    if now.get("class_path") != was.get("class_path"):
        return {path: (_name(now), _name(was))}
    if "class_path" in now:
        now, was = now.get("init_args") or {}, was.get("init_args") or {}
    start = f"{path}." if path else ""
    found: dict[str, tuple[Any, Any]] = {}
    for name in {**now, **was}:
        found |= differences(now.get(name), was.get(name), f"{start}{name}")
    return found


def told_differences(found: Mapping[str, tuple[Any, Any]]) -> str:
    """Differences as a part of a sentence."""
    return "; ".join(f"{name} is {_short(now)} now and was {_short(was)}" for name, (now, was) in found.items())


def _short(value: Any) -> str:
    """A value, of which a page of numbers would say no more."""
    return textwrap.shorten(str(value), 300, placeholder=" …")


def _name(value: Any) -> Any:
    """The name of a class alone."""
    return value["class_path"] if isinstance(value, Mapping) and "class_path" in value else value
