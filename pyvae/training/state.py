"""What a training run is made of at the end of an epoch, and its checkpoint."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pyvae.checkpoint import load_state, read_tensors, write_tensors
from pyvae.compilation import choices, remember
from pyvae.core.differences import differences, told_differences
from pyvae.errors import RUN_ERRORS, CheckpointError, PyvaeError
from pyvae.training.logs import Row
from pyvae.training.optimizer_state import read_optimizer, written_optimizer

__all__ = ["CHECKPOINT", "TrainingState"]

CHECKPOINT = "checkpoint.safetensors"

#: what a run may change when it is resumed, if that is asked for; of the optimizer, its settings but not its class
_CHANGEABLE = frozenset({"batch_size", "clip_norm", "objective", "precision", "schedule"})


@dataclass
class TrainingState:
    """Everything that the rest of a run depends on.

    Random streams and data order need no place here: both follow from the seed and the number of the epoch. The
    learning-rate schedule follows from the history, which it is replayed on.

    Attributes:
        pair: the pair that is trained.
        optimizer: its optimizer.
        schedule: its learning-rate schedule, stepped once per epoch.
        settings: what must be the same in a resumed run; JSON. A seed of None takes that of the checkpoint.
        history: one row of metrics per finished epoch.
        best: the parameters and buffers of the best epoch.
        best_epoch: the number of the best epoch, 0 before the first.
    """

    pair: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: LRScheduler | None
    settings: dict[str, Any]
    history: list[Row] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_epoch: int = 0

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return len(self.history)

    def add_epoch(self, row: Row) -> None:
        """Append the metrics of an epoch, keep the weights if they are the best so far, and step the schedule."""
        self.history.append(row)
        elbo = row.get("validation_elbo")
        if elbo is not None and (not self.best_epoch or elbo > self.history[self.best_epoch - 1]["validation_elbo"]):
            self.best_epoch = self.epoch
            self.best = self.weights()
        self._step_schedule(row)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the parameters and buffers."""
        return {n: t.detach().clone() for n, t in self.pair.state_dict().items()}

    def _step_schedule(self, row: Row) -> None:
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(-row["validation_elbo"] if "validation_elbo" in row else row["train_loss"])
        elif self.schedule is not None:
            self.schedule.step()

    def check(self) -> None:
        """Refuse what cannot be written, before anything is.

        Raises:
            CheckpointError: naming a setting of the optimizer that is neither a tensor nor JSON.
        """
        written_optimizer(self.optimizer)

    def write(self, directory: Path) -> None:
        """Replace the checkpoint of ``directory`` in one step.

        Raises:
            CheckpointError: if it cannot be written; the previous one stands.
        """
        optimizer_tensors, optimizer_numbers = written_optimizer(self.optimizer)
        tensors = {f"model/{n}": t for n, t in self.pair.state_dict().items()}
        if self.best_epoch != self.epoch:  # else the model's weights are the best ones
            tensors |= {f"best/{n}": t for n, t in (self.best or {}).items()}
        tensors |= optimizer_tensors
        header = {
            "kind": "checkpoint",
            "recipe": getattr(self.pair, "recipe", None),
            "settings": self.settings,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "optimizer": optimizer_numbers,
            "products": choices(),  # they decide how a traced step rounds
        }
        write_tensors(directory / CHECKPOINT, tensors, header)

    def read(self, directory: Path, changed: bool = False) -> None:
        """Take on the state of the checkpoint of ``directory``.

        Args:
            directory: of the run.
            changed: whether settings that no stored state depends on, such as the learning rate, may be others.

        Raises:
            CheckpointError: if it is unreadable, or of a run with other settings.
        """
        path = directory / CHECKPOINT
        tensors, header = read_tensors(path)
        if header["kind"] != "checkpoint":
            raise CheckpointError(f"{path} is a file of weights; expected the checkpoint of a run")
        try:
            self._take(path, tensors, header, changed)
        except RUN_ERRORS as error:
            if isinstance(error, PyvaeError):
                raise
            raise CheckpointError(f"{path}: the header is damaged: {type(error).__name__}: {error}") from error

    def _take(self, path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any], changed: bool) -> None:
        new = self._compare(path, header["settings"], changed)
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition("/")
            if kind in parts:
                parts[kind][rest] = tensor
        load_state(self.pair, parts["model"], str(path))
        self.settings |= {"seed": header["settings"]["seed"]}
        self.history, self.best_epoch = header["history"], header["best_epoch"]
        remember(header["products"])
        self.best = parts["best"] or (self.weights() if self.best_epoch else None)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step", category=UserWarning)
            for row in self.history:
                self._step_schedule(row)
        replayed = [float(group["lr"]) for group in self.optimizer.param_groups]
        asked = [{n: group[n] for n in new if n in group} for group in self.optimizer.param_groups]
        read_optimizer(self.optimizer, tensors, header["optimizer"])
        for group, settings in zip(self.optimizer.param_groups, asked, strict=True):
            group |= {name: value for name, value in settings.items() if name != "lr"}
        if self.schedule is not None or new & {"lr", "schedule"}:  # of a longer run, it may be elsewhere by now
            _set_rates(self.optimizer, replayed)

    def _compare(self, path: Path, written: Mapping[str, Any], changed: bool) -> set[str]:
        """The names of the settings that are others now, those of the optimizer among them.

        Raises:
            CheckpointError: if they may not be.
        """
        here = json.loads(json.dumps(self.settings))
        found = differences(_by_name(here), _by_name(written))
        found = {n: v for n, v in found.items() if (n, v[0]) != ("seed", None) and n != "processes"}
        kept = {n: v for n, v in found.items() if n not in _CHANGEABLE and not n.startswith("optimizer.")}
        refused = kept if changed else found
        if refused:
            raise CheckpointError(
                f"cannot resume from {path}: {told_differences(refused)}. Resume with the same settings, or start in "
                "another directory"
            )
        if here["processes"] != written["processes"]:
            warnings.warn(
                f"{path} is of a run of {written['processes']} processes and goes on with {here['processes']}: the "
                "batches are others from here on, and so is the result",
                stacklevel=2,
            )
        return {name.rpartition(".")[2] for name in found}


def _by_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in which those of the optimizer go by their names."""
    kind, groups = settings["optimizer"]
    parts = groups[0] if len(groups) == 1 else {f"group {i}": group for i, group in enumerate(groups, 1)}
    return {**settings, "optimizer": {"class_path": kind, "init_args": parts}}


def _set_rates(optimizer: torch.optim.Optimizer, rates: Sequence[float]) -> None:
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
