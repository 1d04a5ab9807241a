"""One epoch of optimization steps: its metrics, and what went wrong."""

import math
import warnings
from dataclasses import dataclass, field

from torch import Tensor

from pyvae.batching.batches import Batch, Batches
from pyvae.errors import RUN_ERRORS, ArgumentError, NonFiniteError, PairError, PyvaeError, TraceError, first_lines
from pyvae.inspection.nonfinite import Culprit
from pyvae.training.compiled_step import TracedStep
from pyvae.training.cutting import BatchShapes
from pyvae.training.eager_step import EagerStep
from pyvae.training.interruption import Interruption
from pyvae.training.nonfinite import advice_on, first_nonfinite, first_nonfinite_buffer, first_nonfinite_parameter
from pyvae.training.progress import TrainingProgress
from pyvae.training.state import Row
from pyvae.training.untrained import warn_of_untrained

__all__ = ["Trainer"]

_MOST_TRACES = 3  # of a pair whose attributes change
_LOOK_EVERY = 32  # steps, where looking at a number means to wait for the device


@dataclass
class _Sums:
    """Running sums over an epoch."""

    terms: list[float]
    rows: int = 0
    batches: int = 0
    loss: float = 0.0
    norm: float = 0.0

    def add(self, loss: float, norm: float, terms: list[float], rows: float) -> None:
        """Add loss and terms per datapoint of some rows, and the norm of the gradient."""
        self.rows += int(rows)
        self.batches += 1
        self.loss += loss * rows
        self.norm += norm
        self.terms = [total + term * rows for total, term in zip(self.terms, terms, strict=True)]

    def elbo(self) -> float | None:
        """The mean ELBO per datapoint, if the loss has such terms and some were added."""
        return (self.terms[0] - sum(self.terms[1:])) / self.rows if self.terms and self.rows else None


@dataclass
class Trainer:
    """Trains a pair step by step.

    Attributes:
        eager: the step as Pyro makes it.
        shapes: looks at each batch.
        traced_rows: batches of this number of rows take a step that is traced, where the pair allows; 0 for none.
        most_operations: how many a step may make that is still worth tracing; None for any number.
        interruption: asked after each batch whether to end.
    """

    eager: EagerStep
    shapes: BatchShapes
    traced_rows: int = 0
    most_operations: int | None = None
    interruption: Interruption = field(default_factory=lambda: Interruption(False))

    def __post_init__(self) -> None:
        self._step: EagerStep | TracedStep = self.eager
        self._traces = 0
        self._pair, self._optimizer = self.eager.loss.pair, self.eager.update.optimizer
        # modules that were put into evaluation mode one by one, such as a frozen network, stay there
        self._at_rest = [m for m in self._pair.modules() if not m.training] if self._pair.training else []
        self._trained = {name: id(p) for name, p in self._pair.named_parameters()}

    def epoch(self, batches: Batches, seed: int, number: int, progress: TrainingProgress) -> Row:
        """One pass over the data in the order of ``seed``; the metrics of it.

        Raises:
            DataError: if a batch is unlike the first.
            NonFiniteError: naming the first site or parameter that is not finite, the epoch and the batch.
            PairError: if the pair fails on a batch, or no parameter receives a gradient.
        """
        self._check_rates(number)
        self._pair.train()
        for module in self._at_rest:
            module.training = False
        if isinstance(self._step, TracedStep) and self._step.outdated():
            self._step = self.eager
        sums = _Sums([0.0] * len(self.eager.loss.terms))
        pending: list[tuple[int, Batch, Tensor]] = []
        for index, batch in enumerate(batches.shuffled(seed), 1):
            self.shapes.check(batch, f"{index} of epoch {number}")
            # the first step of all is eager: it makes the optimizer's state
            wanted = len(batch[0]) == self.traced_rows and (number, index) > (1, 1)
            pending.append((index, batch, self._made(batch, wanted, f"in epoch {number}, batch {index}")))
            if (number, index) == (1, 1):
                warn_of_untrained(self.shapes.inspection, batch)
            if batches.device.type == "cpu" or len(pending) == _LOOK_EVERY:
                self._look(pending, number, sums)
            progress.batch(sums.elbo)
            self.interruption.check()
        self._look(pending, number, sums)
        self._step.flush()
        if not sums.rows:
            raise PairError("the data gave no batch in this epoch; a DataLoader must be able to start again")
        self._check_state(number)
        return self._row(number, sums)

    def _check_rates(self, number: int) -> None:
        for rate in (float(group["lr"]) for group in self._optimizer.param_groups):
            if not rate >= 0:
                raise ArgumentError(
                    f"the learning rate of epoch {number} is {rate:g}; expected a schedule of rates of at least 0"
                )

    def _check_state(self, number: int) -> None:
        """Refuse parameters and buffers that are not finite, and parameters that the optimizer does not know."""
        where = first_nonfinite_parameter(self._pair) or first_nonfinite_buffer(self._pair)
        if where:
            raise NonFiniteError(f"{where} is not finite after epoch {number}")
        added = [n for n, p in self._pair.named_parameters() if self._trained.get(n) != id(p) and p.requires_grad]
        if added:
            raise PairError(
                f"{type(self._pair).__name__} has made the parameters {added} in epoch {number}, when the optimizer "
                "was there already, so that they would never be trained; make all of them before fit, in __init__"
            )

    def _made(self, batch: Batch, traced: bool, where: str) -> Tensor:
        """The figures of a step."""
        try:
            if traced and self._step is self.eager:
                self._trace(batch)
            return self._step(batch)
        except PairError as error:
            raise PairError(f"{type(self._pair).__name__}: {error} {where}") from error
        except RUN_ERRORS as error:
            if isinstance(error, PyvaeError) and not isinstance(error, TraceError):
                raise
            raise self._diagnosed(batch, where, error) from error

    def _trace(self, batch: Batch) -> None:
        """Trace the step for batches such as this one, or say why it stays eager."""
        self._traces += 1
        try:
            if self._traces > _MOST_TRACES:
                raise TraceError("attributes of its modules change from epoch to epoch; keep such numbers in buffers")
            self._step = TracedStep(self.eager, batch, self.most_operations)
        except TraceError as error:
            self.traced_rows = 0
            warnings.warn(f"{type(self._pair).__name__} is trained without compilation: {error}", stacklevel=6)

    def _look(self, pending: list[tuple[int, Batch, Tensor]], number: int, sums: _Sums) -> None:
        """Add the figures of the steps that were made, if they are finite."""
        for index, batch, figures in pending:
            loss, norm, *terms, rows = figures.tolist()
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise self._diagnosed(batch, f"in epoch {number}, batch {index}", None)
            sums.add(loss, norm, terms, rows)
        pending.clear()

    def _row(self, number: int, sums: _Sums) -> Row:
        """The metrics of an epoch."""
        row = {"epoch": number, "train_loss": sums.loss / sums.rows}
        if names := self.eager.loss.terms:
            reconstruction, *layers = [total / sums.rows for total in sums.terms]
            kl = sum(layers)
            row |= {"train_elbo": reconstruction - kl, "train_reconstruction": reconstruction, "train_kl": kl}
            if len(layers) > 1:
                row |= {f"train_kl_{name}": term for name, term in zip(names[1:], layers, strict=True)}
        return row | {
            "grad_norm": sums.norm / sums.batches,
            "learning_rate": float(self._optimizer.param_groups[0]["lr"]),
        }

    def _diagnosed(self, batch: Batch, where: str, error: Exception | None) -> Exception:
        """The error that says what is not finite; or the one that was met, if everything is."""
        if self._step is not self.eager:  # a compiled step validates nothing, and leaves no gradients to look at
            try:
                self.eager.loss.backward(batch)
            except PyvaeError as met:
                return type(met)(f"{first_lines(met)} {where}")
            except RUN_ERRORS as met:
                error = met
        culprit = first_nonfinite(self._pair, batch, self.eager.loss.inspection.data_plate)
        if culprit is None and error is not None:
            return PairError(f"{type(self._pair).__name__} failed {where}: {first_lines(error)}")
        culprit = culprit or Culprit("the loss, or the norm of its gradient,")
        advice = advice_on(batch, self.eager.update.clip_norm)
        met = f"{culprit.what} is not finite {where}{culprit.detail}"
        return NonFiniteError(f"{met}. {culprit.advice or advice}")
