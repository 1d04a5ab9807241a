"""The epochs of a training run."""

from dataclasses import dataclass

import torch

from pyvae.batching.batches import Batches
from pyvae.core.random_streams import derive_seed, isolated_rng
from pyvae.errors import NonFiniteError
from pyvae.evaluation.code_usage import count_codes, sizes_of_codes
from pyvae.evaluation.evaluate import inspected_elbo
from pyvae.inspection.inspection import Inspection
from pyvae.training.elbo_terms import weighs_terms
from pyvae.training.loop import Trainer
from pyvae.training.processes import Processes
from pyvae.training.progress import TrainingProgress
from pyvae.training.state import Row, TrainingState

__all__ = ["Epochs"]

_EVALUATION_STREAM = 0  # epochs are counted from 1, so that this stream of the seed is free
_OTHER_PROCESSES = 2  # streams of an epoch: 1 is that of the order of the data


@dataclass
class Epochs:
    """What makes an epoch: training, and validation.

    Attributes:
        trainer: of the steps.
        state: the state of the run.
        batches: the data to train on.
        held_out: the data to validate on.
        processes: those that train the pair.
        inspection: of the pair.
        total: how many epochs the run has, which schedules of weights may depend on.
    """

    trainer: Trainer
    state: TrainingState
    batches: Batches
    held_out: Batches | None
    processes: Processes
    inspection: Inspection
    total: int

    def next(self, shown: TrainingProgress) -> Row:
        """Train for one epoch, measure, and add it to the state."""
        seed, number = self.state.settings["seed"], self.state.epoch + 1
        objective = self.trainer.eager.loss.objective
        if weighs_terms(objective):
            objective.at_epoch(number, self.total)
        with isolated_rng(derive_seed(seed, number, *self._path())):
            row = self.trainer.epoch(self.batches, derive_seed(seed, number, 1), number, shown)
        if self.held_out is not None:
            row |= self._validation(derive_seed(seed, _EVALUATION_STREAM, *self._path()), number)
        if sizes_of_codes(self.inspection):
            row |= self._use_of_codes(derive_seed(seed, _EVALUATION_STREAM, *self._path()))
        self.state.add_epoch(row)
        return row

    def _path(self) -> tuple[int, ...]:
        """The part of the seed by which the random streams of the processes differ."""
        return (_OTHER_PROCESSES, self.processes.rank) if self.processes.rank else ()

    def _validation(self, seed: int, number: int) -> Row:
        """The ELBO of the held-out data, each process measuring its part."""
        part = self.held_out.part(self.processes.rank, self.processes.count)
        try:
            measured = inspected_elbo(self.inspection, part, num_particles=1, seed=seed)
        except NonFiniteError as error:
            raise NonFiniteError(f"the validation data, after epoch {number}: {error}") from error
        terms = {"elbo": measured.per_datapoint, "reconstruction": measured.reconstruction, "kl": measured.kl}
        terms |= measured.layers
        sums = torch.tensor([*(float(t.sum()) for t in terms.values()), len(terms["elbo"])], dtype=torch.float64)
        self.processes.add([sums])
        means = zip(terms, (sums[:-1] / sums[-1]).tolist(), strict=True)
        return {f"validation_{name}": mean for name, mean in means}

    def _use_of_codes(self, seed: int) -> Row:
        """How the held-out data use the codes, or else those to train on, each process counting its part."""
        split, batches = ("train", self.batches) if self.held_out is None else ("validation", self.held_out)
        row: Row = {}
        part = batches.part(self.processes.rank, self.processes.count)
        for name, usage in count_codes(self.inspection, part, seed).items():
            self.processes.add([usage.counts])
            row |= {f"{split}_{figure}_{name}": value for figure, value in usage.figures().items()}
        return row
