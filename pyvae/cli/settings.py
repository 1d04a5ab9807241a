"""The settings of a run, as a person reads them."""

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyvae.cli.runs import Run

__all__ = ["readable_settings"]

_OF_THE_MACHINE = {"data_root", "download", "device", "progress", "tensorboard", "evaluation_particles"}


def readable_settings(run: Run) -> dict[str, dict[str, str]]:
    """By heading, the settings that had a part in the result: names and values in words, without paths."""
    left_out = _OF_THE_MACHINE | _of_other_data(run) | {"shape"}
    groups = {"Model": {"recipe": run.recipe, **run.arguments}, "Data": run.data, "Training": run.training}
    chosen = {
        heading: {
            k: v for k, v in group.items() if k not in left_out and v is not None and v is not False and v != "all"
        }
        for heading, group in groups.items()
    }
    chosen["Data"]["data"] = Path(run.data["data"]).name
    if run.changes:
        chosen["Changed on resumption"] = {f"after epoch {c['epoch']}": _changed(c["options"]) for c in run.changes}
    chosen["Versions"] = run.versions
    return {
        heading: {name.replace("_", " "): _in_words(value) for name, value in group.items()}
        for heading, group in chosen.items()
    }


def _of_other_data(run: Run) -> set[str]:
    """The settings of data of another kind than those of the run."""
    if any(step["name"] == "recording" for step in run.preprocessing):
        return {"image_size"}
    return {"audio_length"} if Path(run.data["data"]).is_dir() else {"audio_length", "image_size"}


def _changed(options: Mapping[str, Mapping[str, Any]]) -> str:
    news = {name: change for name, change in options.items() if name not in _OF_THE_MACHINE}
    return ", ".join(
        f"{name.replace('_', ' ')} {_in_words(change['was'])} → {_in_words(change['now'])}"
        for name, change in news.items()
    )


def _in_words(value: Any) -> str:
    """A value of a record; an object as its class, with the arguments that are not the class's defaults."""
    if isinstance(value, Mapping) and "class_path" in value:
        name = value["class_path"]
        given = _not_default(name, value.get("init_args", {}))
        inside = ", ".join(f"{k} = {_in_words(v)}" for k, v in given.items())
        return name.rpartition(".")[2] + (f" ({inside})" if inside else "")
    if isinstance(value, Mapping):
        return ", ".join(f"{k} = {_in_words(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_in_words(v) for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _not_default(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that are not the defaults of the class, or function, and the learning rate, which all look for."""
    module, _, attribute = name.rpartition(".")
    made = getattr(sys.modules.get(module), attribute, None)  # what a record names is never imported for it
    parameters = inspect.signature(made).parameters if callable(made) else {}
    defaults = {k: list(p.default) if isinstance(p.default, tuple) else p.default for k, p in parameters.items()}
    return {k: v for k, v in arguments.items() if k == "lr" or k not in defaults or defaults[k] != v}
