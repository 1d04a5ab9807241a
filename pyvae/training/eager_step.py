"""One optimization step of a pair: the gradient of its loss on a batch, and the optimizer's step."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Number
from typing import Any

import pyro
import torch
from pyro.infer import ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

from pyvae.batching.batches import Batch
from pyvae.compilation import as_tensor, without_items
from pyvae.core.tensors import numbers_of
from pyvae.errors import PairError
from pyvae.inspection.checks import validated_sites
from pyvae.inspection.inspection import Inspection, device_of
from pyvae.inspection.sites import stochastic_sites
from pyvae.objectives.divergences import analytic_sites
from pyvae.training.elbo_terms import ELBOTerms, estimates_elbo, weighs_terms
from pyvae.training.precision import Precision, computed_in
from pyvae.training.processes import Processes

__all__ = ["EagerStep", "Loss", "Update", "clip_factor"]


class Loss:
    """An objective's loss of a pair on a batch, with the terms of the ELBO.

    Args:
        pair: a module with ``model`` and ``guide``.
        objective: any Pyro ELBO.
        inspection: of the pair: whether its programs register its parameters with Pyro, if not, we do; its latents; and
            the plate over the data, whose size is the number of datapoints that the objective's loss stands for.
        precision: in which the programs run.

    Attributes:
        terms: the names of the terms: "reconstruction", then the sites that have a KL; none where the objective's runs
            do not show them.
    """

    def __init__(self, pair: nn.Module, objective: ELBO, inspection: Inspection, precision: Precision) -> None:
        self.pair = pair
        self.objective = objective
        self.precision = precision
        self._validated = validated_sites(inspection)
        self.inspection, self._registers = inspection, inspection.registers_parameters
        names = ("reconstruction", *inspection.latents, *inspection.guide_terms)
        self.terms = names if estimates_elbo(objective) else ()
        # the objectives that take closed forms, so that the terms are those of the loss
        closed = isinstance(objective, TraceMeanField_ELBO) or weighs_terms(objective)
        programs = stochastic_sites(inspection.guide), stochastic_sites(inspection.model)
        self._analytic = analytic_sites(*programs) if closed else frozenset()
        self._device = device_of(pair)

    def backward(self, batch: Batch, recorded: bool = False) -> tuple[Any, list, int]:
        """Run the objective, which adds to the gradients of the parameters.

        Args:
            batch: the arguments of both programs.
            recorded: whether the run is being recorded.

        Returns:
            The loss and the means over particles of :attr:`terms`, as numbers or tensors, and the number of data that
            they are of.
        """
        # while a run is recorded nothing is validated: what lies outside of the support makes the loss NaN instead
        checked = self._validated if recorded else ()
        terms = ELBOTerms(self.inspection, self._analytic, checked, bool(self.terms))
        # a recording's parameters are no nn.Parameters, which a PyroModule would register
        guide = self._program(self.pair.guide, self._registers and not recorded)
        model = self._program(self.pair.model, True)
        if recorded:
            model, guide = without_items(model), without_items(guide)
        loss = self.objective.loss_and_grads(terms(model), terms.guide(guide), *batch)
        if not isinstance(loss, Number | Tensor):
            raise PairError(f"{type(self.objective).__name__} gave a loss of type {type(loss).__name__}, not a number")
        if terms.inside is not None:
            loss = torch.where(terms.inside, as_tensor(loss), math.nan)
        particles = self.objective.num_particles if self.objective.vectorize_particles else 1
        return loss, [term / particles for term in terms.means()], terms.full_size or len(batch[0])

    def _program(self, program: Callable, registers: bool) -> Callable:
        def run(*args: Any, **kwargs: Any) -> Any:
            if not registers:  # Pyro's objectives run no backward pass for programs without parameter sites
                pyro.module("pair", self.pair)
            with computed_in(self.precision, self._device):
                return program(*args, **kwargs)

        return run


@dataclass
class Update:
    """What follows on the gradients of a batch's loss.

    The gradient is made that of the mean loss per datapoint, over the batches of all processes, so that ``clip_norm``
    and the learning rate mean the same for every batch size. Moving averages, the buffers of a batch norm or of a
    codebook, become those of all processes too.

    Attributes:
        pair: whose gradients these are.
        optimizer: over the pair's parameters.
        clip_norm: the largest norm of the whole gradient, or None.
        processes: those that train the pair.
    """

    pair: nn.Module
    optimizer: torch.optim.Optimizer
    clip_norm: float | None
    processes: Processes

    def __call__(self, loss: Any, terms: list, count: int, rows: int) -> Tensor:
        """Make a step, unless loss or gradient are not finite.

        Args:
            loss: the sum of the loss over the batch.
            terms: the sums of log p(x | z) and of the KL of latents.
            count: of how many datapoints these are sums.
            rows: of the batch.

        Returns:
            Loss per datapoint, the norm of its gradient, the terms per datapoint, and the rows of all processes:
            float64, of one dimension.

        Raises:
            PairError: if no parameter has received a gradient.
        """
        gradients = [p.grad for g in self.optimizer.param_groups for p in g["params"] if p.grad is not None]
        if not gradients:
            raise PairError("no parameter received a gradient")
        sums = torch.tensor([count, rows, float(loss), *map(float, terms)], dtype=torch.float64)
        self._gather(gradients, sums)
        count, rows, loss, *terms = sums.tolist()
        norm = float(nn.utils.get_total_norm(map(numbers_of, gradients))) / count
        if math.isfinite(loss) and math.isfinite(norm):
            shrink = 1.0 if self.clip_norm is None else clip_factor(norm, self.clip_norm)
            for gradient in gradients:
                gradient.mul_(shrink / count)
            self.optimizer.step()
        return torch.tensor([loss / count, norm, *(t / count for t in terms), rows], dtype=torch.float64)

    def _gather(self, gradients: list[Tensor], sums: Tensor) -> None:
        """Add up what the processes have; of exponential moving averages (EMA), take the mean."""
        if self.processes.count == 1:
            return
        averages = [b for b in self.pair.buffers() if b.is_floating_point()]
        self.processes.add([*gradients, sums, *averages])
        for average in averages:
            average.div_(self.processes.count)


class EagerStep:
    """A step as Pyro and torch make it."""

    def __init__(self, loss: Loss, update: Update) -> None:
        self.loss, self.update = loss, update

    def __call__(self, batch: Batch) -> Tensor:
        """Make a step; see :class:`Update`."""
        self.update.optimizer.zero_grad()
        return self.update(*self.loss.backward(batch), len(batch[0]))

    def flush(self) -> None:
        """Nothing is kept from one step to the next."""


def clip_factor(norm: Any, clip_norm: float) -> Any:
    """What shortens a gradient of this norm to ``clip_norm``, where it is longer; of a number or a tensor."""
    factor = clip_norm / (norm + 1e-12)
    return factor.clamp(max=1) if isinstance(factor, Tensor) else min(1.0, factor)
