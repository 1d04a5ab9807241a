"""Optimization steps without Python: loss, gradients and optimizer as one compiled graph."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pyvae.batching.batches import Batch
from pyvae.compilation import Program, PythonState, RecordableAdam, as_tensor, described
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import TraceError
from pyvae.training.eager_step import EagerStep, clip_factor

__all__ = ["TracedStep"]

_TOLERANCE = {"32-true": 1e-3, "bf16-mixed": 5e-2}  # of rounding in another order, in sums of many terms


class TracedStep:
    """A step that is traced and compiled for batches of one signature; all others go the eager way.

    Steps of Adam and AdamW are in the graph; other optimizers, and several processes, make theirs on the gradients that
    it gives.

    Args:
        eager: the step as Pyro makes it; it has been made at least once.
        batch: an example of the batches to come.
        most_operations: as for :class:`pyvae.compilation.Program`.

    Raises:
        TraceError: if the step cannot be recorded or compiled, or does not do what the eager one does.
    """

    def __init__(self, eager: EagerStep, batch: Batch, most_operations: int | None = None) -> None:
        self._eager, self._loss, self._update = eager, eager.loss, eager.update
        batch = _contiguous(batch)
        self._signature = [described(t) for t in batch]
        self._parameters = list(self._loss.pair.parameters())
        optimizer = self._update.optimizer
        alone = self._update.processes.count == 1  # others add their gradients between the graph and the optimizer
        self._adam = (
            RecordableAdam(optimizer, self._parameters) if alone and RecordableAdam.supports(optimizer) else None
        )
        self._inputs = self._adam.inputs if self._adam else []
        function = self._whole_step if self._adam else self._gradients
        self._program = Program(self._loss.pair, function, (*batch, *self._inputs), most_operations)
        self._state = Program.state(self._loss.pair)
        self._key = self._constants()
        self._check(batch)

    def __call__(self, batch: Batch) -> Tensor:
        """Make a step; see :class:`pyvae.training.eager_step.Update`."""
        batch = _contiguous(batch)
        if [described(t) for t in batch] != self._signature:
            self.flush()
            figures = self._eager(batch)
            if self._adam:
                self._adam.load()
            return figures
        if self._adam:
            self._adam.advance()
            return self._program(self._state, *batch, *self._inputs)
        loss, terms, gradients = self._program(self._state, *batch)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return self._update(loss, terms, self._count, len(batch[0]))

    def outdated(self) -> bool:
        """Whether something has changed that the graph holds as a constant: an attribute of a module, what is trained.

        To be asked between epochs; within them only the pair's programs run, and they change no attributes.
        """
        return self._constants() != self._key

    def _constants(self) -> tuple:
        trained = tuple(p.requires_grad for p in self._parameters)
        return PythonState(self._loss.pair).key, trained, self._adam and self._adam.constants()

    def flush(self) -> None:
        """Bring the optimizer's state up to date, for whoever reads it."""
        if self._adam:
            self._adam.store()

    def _gradients(self, *batch: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor | None]]:
        """Loss and terms of a batch, and the gradients."""
        loss, terms, self._count = self._loss.backward(batch, recorded=True)
        return as_tensor(loss), [*map(as_tensor, terms)], [p.grad for p in self._loss.pair.parameters()]

    def _whole_step(self, *inputs: Tensor) -> Tensor:
        """What :class:`pyvae.training.eager_step.Update` does, as tensor operations."""
        rows = len(self._signature)
        loss, terms, gradients = self._gradients(*inputs[:rows])
        figures = _figures(loss, terms, gradients, self._count)
        factor = 1.0 if self._update.clip_norm is None else clip_factor(figures[1], self._update.clip_norm)
        gradients = [None if g is None else g * (factor / self._count) for g in gradients]
        self._adam.update(list(self._loss.pair.parameters()), gradients, inputs[rows:])
        return torch.cat([figures, torch.full((1,), len(inputs[0]), dtype=torch.float64, device=figures.device)])

    def _check(self, batch: Batch) -> None:
        """Compare with the eager step, on the same data and random stream.

        Raises:
            TraceError: if loss, its terms, the norm of the gradient or a buffer differ.
        """
        pair, optimizer = self._loss.pair, self._update.optimizer
        batch = tuple(t.flip(0) for t in batch)  # other data than those that the trace has seen
        state, inputs = ([t.detach().clone() for t in tensors] for tensors in (self._state, self._inputs))
        with isolated_rng(seed=0):
            results = self._program(state, *batch, *inputs)
        traced = results[:-1] if self._adam else _figures(*results, self._count)
        buffers = list(pair.buffers())
        kept = [b.clone() for b in buffers]
        with isolated_rng(seed=0):
            optimizer.zero_grad()
            loss, terms, count = self._loss.backward(batch)
        eager = _figures(as_tensor(loss), [*map(as_tensor, terms)], [p.grad for p in pair.parameters()], count)
        optimizer.zero_grad()
        tolerance = _TOLERANCE[self._loss.precision]
        pairs = [(traced, eager), *zip(state[len(state) - len(buffers) :], buffers, strict=True)]
        agree = all(torch.allclose(a, b.to(a), rtol=tolerance, atol=1e-6, equal_nan=True) for a, b in pairs)
        for buffer, before in zip(buffers, kept, strict=True):
            buffer.copy_(before)
        if not agree:
            raise TraceError(
                f"the traced step gives loss, gradient norm and terms {traced.tolist()}, where the eager one gives "
                f"{eager.tolist()}, or other buffers"
            )


def _figures(loss: Tensor, terms: Sequence[Tensor], gradients: Sequence[Tensor | None], count: int) -> Tensor:
    """Per datapoint, of sums over the batch: loss, the norm of its gradient, terms; float64."""
    norm = torch.stack([g.square().sum() for g in gradients if g is not None]).sum().sqrt()
    return torch.stack([t.double() / count for t in (loss, norm, *terms)])


def _contiguous(batch: Batch) -> Batch:
    """The batch in the layout that the graph is compiled for."""
    return tuple(t.contiguous() for t in batch)
