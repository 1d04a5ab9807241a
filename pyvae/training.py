"""One optimization step, and one epoch of them."""

import math
from dataclasses import dataclass

import pyro
import torch
from pyro.infer import ELBO
from torch import nn

from pyvae.batches import Batch, Batches
from pyvae.errors import RUN_ERRORS, NonFiniteError, PairError, PyvaeError
from pyvae.metrics import ObservedTerms, estimates_elbo
from pyvae.nonfinite import first_nonfinite, first_nonfinite_parameter
from pyvae.progress import TrainingProgress
from pyvae.training_state import Row

__all__ = ["Trainer"]


@dataclass
class _Sums:
    """Running sums over an epoch, of figures per datapoint times rows."""

    rows: int = 0
    batches: int = 0
    loss: float = 0.0
    reconstruction: float = 0.0
    grad_norm: float = 0.0


@dataclass
class Trainer:
    """Trains a pair with a Pyro objective and one torch optimizer.

    The gradient is that of the mean loss per datapoint, so that ``clip_norm`` and the learning rate mean the same for
    every batch size.

    Attributes:
        pair: a module with ``model`` and ``guide``.
        objective: any Pyro ELBO.
        optimizer: over ``pair.parameters()``.
        clip_norm: the largest norm of the whole gradient, or None.
        registers: whether the pair's programs register its parameters with Pyro; if not, we do.
        plate: the name of the plate over the data, if there is one. An objective's loss is that of as many data as
            the plate says, the full data for a plate that subsamples them.
    """

    pair: nn.Module
    objective: ELBO
    optimizer: torch.optim.Optimizer
    clip_norm: float | None
    registers: bool
    plate: str | None

    def __post_init__(self) -> None:
        self._terms = ObservedTerms(self.plate)
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self._model = self._terms(self.pair.model)
        self._guide = self.pair.guide if self.registers else self._registering_guide

    def _registering_guide(self, *args: object, **kwargs: object) -> object:
        """Pyro's objectives run no backward pass for programs without parameter sites."""
        pyro.module("pair", self.pair)
        return self.pair.guide(*args, **kwargs)

    def epoch(self, batches: Batches, seed: int, number: int, progress: TrainingProgress) -> Row:
        """One pass over the data in the order of ``seed``; the metrics of it.

        Raises:
            NonFiniteError: naming the first site or parameter that is not finite, the epoch and the batch.
            PairError: if no parameter receives a gradient.
        """
        self.pair.train()
        sums = _Sums()
        for index, batch in enumerate(batches.shuffled(seed), 1):
            self._step(batch, sums, f"in epoch {number}, batch {index}")
            progress.batch()
        if not sums.rows:
            raise PairError("the data gave no batch in this epoch; a DataLoader must be able to start again")
        where = first_nonfinite_parameter(self.pair)
        if where:
            raise NonFiniteError(f"{where} is not finite after epoch {number}")
        loss = sums.loss / sums.rows
        row = {"epoch": number, "train_loss": loss}
        if estimates_elbo(self.objective):
            reconstruction = sums.reconstruction / sums.rows
            row |= {"train_elbo": -loss, "train_reconstruction": reconstruction, "train_kl": reconstruction + loss}
        return row | {
            "grad_norm": sums.grad_norm / sums.batches,
            "learning_rate": float(self.optimizer.param_groups[0]["lr"]),
        }

    def _step(self, batch: Batch, sums: _Sums, where: str) -> None:
        self.optimizer.zero_grad()
        self._terms.reset()
        try:
            loss = self.objective.loss_and_grads(self._model, self._guide, *batch)
        except PyvaeError:
            raise
        except RUN_ERRORS as error:
            raise self._diagnosed(batch, where, error) from error
        if not isinstance(loss, float | int):
            raise PairError(
                f"{type(self.objective).__name__} gave a loss of type {type(loss).__name__}; expected a number"
            )
        rows = len(batch[0])
        count = self._terms.full_size or rows
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if not gradients:
            raise PairError(f"no parameter of {type(self.pair).__name__} received a gradient {where}")
        norm = float(nn.utils.get_total_norm(gradients)) / count
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise self._diagnosed(batch, where, None)
        shrink = 1.0 if self.clip_norm is None else min(1.0, self.clip_norm / (norm + 1e-12))
        for gradient in gradients:
            gradient.mul_(shrink / count)
        self.optimizer.step()
        particles = self.objective.num_particles if self.objective.vectorize_particles else 1
        sums.rows += rows
        sums.batches += 1
        sums.loss += loss * rows / count
        sums.reconstruction += self._terms.mean() * rows / (count * particles)
        sums.grad_norm += norm

    def _diagnosed(self, batch: Batch, where: str, error: Exception | None) -> Exception:
        """The error that says what is not finite; or the one that was met, if everything is."""
        culprit = first_nonfinite(self.pair, batch)
        if culprit is None and error is not None:
            return PairError(f"{type(self.pair).__name__} failed {where}: {error}")
        return NonFiniteError(
            f"{culprit or 'the loss, or the norm of its gradient,'} is not finite {where}. Try a smaller learning "
            "rate, clip_norm=…, or a likelihood whose density is bounded; the last checkpoint stands"
        )
