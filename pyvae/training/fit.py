"""One training loop for every pair."""

import hashlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from pyro.infer import ELBO
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from pyvae.batching.batches import Batches, Data, batches_for
from pyvae.core.arguments import check_choice
from pyvae.core.modules import isolated_param_store, restored_modes
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import NonFiniteError
from pyvae.inspection.inspection import Inspection, device_of
from pyvae.objectives.compatibility import check_objective
from pyvae.objectives.default import default_objective, with_plate_nesting
from pyvae.training import schedules
from pyvae.training.checkpoints import save_epoch, start_or_resume
from pyvae.training.checks import check_arguments, check_pair
from pyvae.training.cutting import BatchShapes
from pyvae.training.eager_step import EagerStep, Loss, Update
from pyvae.training.epochs import Epochs
from pyvae.training.interruption import Interrupted, Interruption
from pyvae.training.logs import tensorboard_writer
from pyvae.training.loop import Trainer
from pyvae.training.optimizers import make_optimizer, make_schedule
from pyvae.training.precision import Precision
from pyvae.training.processes import processes_on
from pyvae.training.progress import TrainingProgress
from pyvae.training.state import Row, TrainingState

if TYPE_CHECKING:  # to import them takes as long as torch
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["FitResult", "fit"]

_MOST_OPERATIONS = 60_000  # of a step whose compilation takes some minutes
_WORTH_COMPILING = 2000  # steps of a small VAE, which on two cores save about what its compilation takes


@dataclass(frozen=True, repr=False)
class FitResult:
    """What became of a training run.

    Attributes:
        history: one row of metrics per epoch, by name, in nats per datapoint.
        best_epoch: the epoch whose weights the pair now has, if there were validation data; else 0.
        seed: what repeats the run.
        interrupted: whether Ctrl-C ended it before its time.
    """

    history: list[Row]
    best_epoch: int
    seed: int
    interrupted: bool = False

    def to_dataframe(self) -> "pd.DataFrame":
        """The history as a table, one row per epoch."""
        import pandas as pd

        return pd.DataFrame(self.history, columns=None if self.history else ["epoch"]).set_index("epoch")

    def plot(self) -> "Figure":
        """The ELBO and its terms over the epochs, of training and validation."""
        from pyvae.pages.charts import draw_charts, training_charts

        return draw_charts(training_charts(self.history))

    def _repr_html_(self) -> str:
        from pyvae.pages.results import epoch_rows
        from pyvae.pages.snippet import snippet

        heads, rows = epoch_rows(self.history, self.best_epoch)
        return snippet(f"Training: {self}", heads, rows, figure=self.plot() if self.history else None)

    def __str__(self) -> str:
        best = f", best epoch {self.best_epoch}" if self.best_epoch else ""
        return f"{len(self.history)} epochs{best}, seed {self.seed}{', interrupted' if self.interrupted else ''}"

    def __repr__(self) -> str:
        return f"<FitResult {self}>"


def fit(
    pair: nn.Module,
    data: Data,
    *,
    validation: Data | None = None,
    objective: ELBO | None = None,
    optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer] = lambda p: torch.optim.Adam(p, lr=1e-3, fused=True),
    schedule: Literal[*schedules.__all__] | Callable[[torch.optim.Optimizer], LRScheduler] | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    clip_norm: float | None = None,
    patience: int | None = None,
    seed: int | None = None,
    compile: bool | None = None,
    precision: Precision = "32-true",
    checkpoint_dir: str | Path | None = None,
    resume: bool | Literal["changed"] = False,
    progress: bool = True,
    tensorboard: bool = False,
) -> FitResult:
    r"""Maximize Σ_n ELBO(x_n) over the parameters of model and guide by stochastic gradients.

    Works on any ``nn.Module`` with a Pyro ``model`` and ``guide``. The run depends on the seed alone: the random
    streams and the order of the data follow from it and the epoch, and a run that is killed at any moment and resumed
    ends with the bits of one that was not. The global random streams and the param store are left as they were.
    In a script that torchrun starts several times, all processes train the pair together.

    Ctrl-C ends a run after the batch, with a warning: the history, the pair and the checkpoint are those of the last
    whole epoch, as if it had been the last of all, and ``resume=True`` goes on. A second Ctrl-C raises
    ``KeyboardInterrupt`` at once, as the first does where several processes train; the checkpoint is valid then, too.

    Args:
        pair: the pair; it is trained in place, and with validation data ends with the weights of its best epoch.
        data: a tensor of one row per datapoint, a tuple of such (the arguments of model and guide), a torch
            ``Dataset`` or a ``DataLoader`` (which brings its own batch size).
        validation: held-out data of any such form; their ELBO is measured after each epoch.
        objective: a Pyro ELBO; by default one with analytic KL where that exists, else Trace_ELBO(). Ask for more
            Monte Carlo particles with its num_particles.
        optimizer: makes the torch optimizer over all parameters.
        schedule: makes a learning-rate schedule, stepped once per epoch; ReduceLROnPlateau watches the loss. By name,
            "cosine" or "linear", it falls to 0 over all epochs.
        epochs: passes over the data, those before a resumption included.
        batch_size: rows per step, of each process; one batch of all rows has them in their own order.
        clip_norm: largest norm of the whole gradient of the mean loss per datapoint.
        patience: stop after so many epochs without a better validation ELBO.
        seed: of all randomness. Here and wherever pyvae takes ``seed=None``, one is drawn from torch's global stream,
            which ``pyro.set_rng_seed`` governs; with an int, the global streams are neither read nor moved.
        compile: whether the step is traced once and compiled, after which no Python runs in it; a pair that cannot be
            traced is trained eagerly, with a warning that says why. By default it is in runs of 2,000 steps or more,
            unless the step is so long that its compilation would take many minutes.
        precision: "32-true", or "bf16-mixed": factors of matrix products and convolutions in bfloat16, all sums,
            densities and parameters in float32.
        checkpoint_dir: where to keep checkpoint.safetensors and metrics.csv, replaced after each epoch.
        resume: go on from the checkpoint in checkpoint_dir, if there is one; "changed" to do so with other settings of
            the optimizer, another schedule, objective, batch_size, clip_norm or precision from there on. What follows
            the whole run, a schedule by name or a warm-up over a part of the epochs, is that of the new ``epochs``.
        progress: show a bar in terminals and notebooks, and in logs a line at least every 30 seconds.
        tensorboard: log to TensorBoard too, in the folder tensorboard beside the checkpoint.

    Returns:
        The history of metrics in nats per datapoint, the best epoch and the seed.

    Raises:
        ArgumentError: if an argument is out of range.
        DataError: if the data are empty, not finite, of unequal lengths, or outside the likelihood's support.
        PairError: if the pair fails on a batch, has nothing to train, its guide and model do not match, or batches
            would train something else than all rows: what it says of a row depends on other rows or their order (but
            for batch norm, which looks at the batch while it trains), or a latent is one for all data.
        NonFiniteError: if NaN or infinity appears; the last checkpoint stands.
        CheckpointError: if a checkpoint cannot be written, read, or belongs to other settings.
        RunError: if one of several processes is lost, or lightning-fabric is not installed for them.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(64,), latent_dim=2, hidden=[16])
        >>> result = fit(vae, torch.rand(100, 64).round(), epochs=2, seed=0, progress=False)
        >>> len(result.history), sorted(result.history[-1])[:2]
        (2, ['epoch', 'grad_norm'])
    """
    check_arguments(
        objective, epochs, clip_norm, patience, validation is not None, seed, checkpoint_dir, resume, tensorboard
    )
    check_choice("precision", precision, get_args(Precision))
    check_choice("resume", resume, (True, False, "changed"))
    device = device_of(pair)
    processes = processes_on(device)
    batches = batches_for(pair, data, batch_size).divided(processes.rank, processes.count)
    held_out = None if validation is None else batches_for(pair, validation, batch_size, "validation")
    inspection = check_pair(pair, batches, held_out)
    objective = with_plate_nesting(objective or default_objective(inspection), inspection)
    check_objective(objective, inspection)
    made = make_optimizer(optimizer, [p for p in pair.parameters() if p.requires_grad])
    settings = _settings(pair, objective, made, batches, held_out)
    scheduler = make_schedule(schedule, made, epochs)
    settings |= {"seed": seed, "clip_norm": clip_norm, "schedule": scheduler and type(scheduler).__name__}
    settings |= {"precision": precision, "processes": processes.count}
    state = TrainingState(pair, made, scheduler, settings)
    directory = None if checkpoint_dir is None else Path(checkpoint_dir)
    start_or_resume(state, directory, resume, processes)
    step = EagerStep(Loss(pair, objective, inspection, precision), Update(pair, made, clip_norm, processes))
    shapes = BatchShapes(inspection)
    interruption = Interruption(processes.count == 1)
    traced_rows = _traced_rows(inspection, batches, epochs, compile)
    trainer = Trainer(step, shapes, traced_rows, None if compile else _MOST_OPERATIONS, interruption)
    run = Epochs(trainer, state, batches, held_out, processes, inspection, epochs)
    with (
        restored_modes(pair),
        isolated_param_store(),
        isolated_rng(0),
        interruption,
        TrainingProgress(epochs, batches.count(), state.epoch, progress and processes.rank == 0) as shown,
    ):
        log = tensorboard_writer(directory, state.epoch) if tensorboard and processes.rank == 0 else None
        interrupted = _train(run, patience, interruption, shown, directory, log)
    if state.best is not None:
        pair.load_state_dict(state.best)
    return FitResult(state.history, state.best_epoch, state.settings["seed"], interrupted)


def _train(
    run: Epochs,
    patience: int | None,
    interruption: Interruption,
    shown: TrainingProgress,
    directory: Path | None,
    log: Callable[[Row], None] | None,
) -> bool:
    """Train epoch by epoch. Whether Ctrl-C ended it, which leaves the pair as the last whole epoch did."""
    state = run.state
    while state.epoch < run.total and not _exhausted(state, patience):
        whole = state.weights() if state.best is None else None
        try:
            interruption.check()
            row = run.next(shown)
        except NonFiniteError as error:
            if directory is None or not state.epoch:
                raise
            raise NonFiniteError(f"{error}; the last checkpoint stands, of epoch {state.epoch}") from error
        except Interrupted:
            if whole is not None:
                state.pair.load_state_dict(whole)
            kept = f"the weights of its best epoch, {state.best_epoch}" if state.best_epoch else "its weights then"
            warnings.warn(
                f"training was interrupted in epoch {state.epoch + 1} of {run.total}: the history is that of "
                f"{state.epoch} epochs, and the pair has {kept}",
                stacklevel=3,
            )
            return True
        shown.epoch(row)
        run.processes.by_first(lambda: save_epoch(state, directory, log))
    return False


def _traced_rows(inspection: Inspection, batches: Batches, epochs: int, compile: bool | None) -> int:
    """How many rows the batches have that take a compiled step, those of the first batch; 0 for none.

    Decided by numbers alone, not by time, so that a run that is repeated or resumed decides in the same way.
    """
    steps = epochs * (batches.count() or 0)
    wanted = steps >= _WORTH_COMPILING if compile is None else compile
    return len(inspection.arguments[0]) if wanted else 0


def _settings(
    pair: nn.Module,
    objective: ELBO,
    optimizer: torch.optim.Optimizer,
    batches: Batches,
    held_out: Batches | None,
) -> dict[str, Any]:
    """What a resumed run must have in common with the run that it goes on with, as JSON."""
    options = (f"{n}={v}" for n, v in vars(objective).items() if isinstance(v, bool | int | float | str))
    groups = [{n: _told(v) for n, v in group.items() if n != "params"} for group in optimizer.param_groups]
    names = "\n".join(name for name, _ in pair.named_parameters())
    return {
        "data": batches.describe(),
        "validation": None if held_out is None else held_out.describe(),
        "batch_size": batches.batch_size,
        "objective": f"{type(objective).__name__}({', '.join(options)})",
        "optimizer": [type(optimizer).__name__, groups],
        "parameters": hashlib.sha256(names.encode()).hexdigest(),  # the optimizer knows them by their order alone
    }


def _told(setting: object) -> str:
    """A setting of an optimizer, with all digits if it is a tensor."""
    return f"tensor({setting.tolist()})" if isinstance(setting, Tensor) else str(setting)


def _exhausted(state: TrainingState, patience: int | None) -> bool:
    """Whether the validation ELBO has not risen for ``patience`` epochs."""
    return patience is not None and state.epoch - state.best_epoch >= patience
