"""A traced step is compared with an eager one before it is used."""

import itertools

import numpy as np
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

import pyvae
from tests.compilation.pairs import WIDTH, Annealed, ByHand, Layers
from tests.compilation.training_runs import assert_close, assert_trains_alike, run

pytestmark = pytest.mark.usefixtures("interpreted", "float64")


class Scaled(ByHand):
    """A weight from somewhere in Python, where no recording looks."""

    source = None

    def scale(self):
        return type(self).source()


def growing_list():
    entries = []
    return lambda: (entries.append(1), 1 / (1 + len(entries) % 7))[1]


def counter():
    count = itertools.count()
    return lambda: 1.0 + next(count) % 7


def generator():
    draws = np.random.default_rng(0)
    return lambda: float(draws.uniform(0.5, 2.0))


@pytest.mark.parametrize("make", [growing_list, counter, generator])
def test_python_state_that_slips_through_is_found(make):
    """What is remembered outside of the pair is not seen while recording, but the loss is another one after that."""
    Scaled.source = staticmethod(make())
    _, history, said = run(Scaled, torch.randn(40, WIDTH), True, epochs=2)
    assert len(said) == 1
    assert "Scaled is trained without compilation: the traced step gives loss" in said[0]
    assert "where the eager one gives" in said[0]
    assert len(history) == 2


def test_a_buffer_that_is_assigned_to_moves_as_in_an_eager_run():
    """Seen, and trained eagerly; or recorded."""

    class Assigning(Annealed):
        def guide(self, x):
            self.weight = (self.weight * 1.5).clamp(max=1.0)
            ByHand.guide(self, x)

    x = torch.randn(40, WIDTH)
    eager, history, _ = run(Assigning, x, False)
    traced, traced_history, _ = run(Assigning, x, True)
    torch.testing.assert_close(traced.weight, eager.weight, rtol=1e-6, atol=0)
    losses, traced_losses = ([row["train_loss"] for row in h] for h in (history, traced_history))
    assert traced_losses == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("wrong", ["loss", "gradient", "buffer"])
def test_a_wrong_program_is_found(monkeypatch, wrong):
    """The check itself: with programs whose constants are off by a hundredth."""
    change = {"loss": "sub.Tensor", "gradient": "sum.dim_IntList", "buffer": "mul_.Tensor"}[wrong]

    def run_wrongly(graph, example, options=None):
        def call(*tensors):
            with _Off(change):
                return graph(*tensors)

        return call

    monkeypatch.setattr(torch._inductor, "compile", run_wrongly)
    _, _, said = run(Annealed, torch.randn(40, WIDTH), True, epochs=1, objective=Trace_ELBO())
    assert "the traced step gives" in said[0]


class _Off(torch.utils._python_dispatch.TorchDispatchMode):
    """Operations of one name give results off by a hundredth."""

    def __init__(self, name):
        super().__init__()
        self._name = name

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if self._name in str(function):
            result = result.mul_(1.01) if function.__name__.split(".")[0].endswith("_") else result * 1.01
        return result


def test_the_check_leaves_pair_and_optimizer_as_they_were():
    """Between the first step and the second, which is traced: against a run that is never checked."""
    for make in (Layers, Annealed):
        assert_trains_alike(make, torch.randn(16, WIDTH), epochs=1, tolerance=1e-12)


def test_buffers_of_every_type_are_compared():
    class Masked(ByHand):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([True, False, True, True]))
            self.register_buffer("index", torch.tensor([3, 2, 1, 0]))
            self.register_buffer("empty", torch.zeros(0))
            self.register_buffer("infinite", torch.tensor(-torch.inf))
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))

        def encode(self, x):
            self.calls += 1
            return super().encode((x * self.mask)[:, self.index])

    _, _, said = run(Masked, torch.randn(40, WIDTH), True, epochs=2)
    assert not said


def test_the_tolerance_leaves_room_for_draws_on_the_edge():
    """An untrained pair whose loss is near zero differs by rounding alone: no false alarm."""

    class Zero(ByHand):
        def scale(self):
            return 1e-12

    _, _, said = run(Zero, torch.randn(40, WIDTH), True, epochs=1)
    assert not said


def test_every_second_column_of_wider_data():
    """Batches of a loader that are not contiguous."""
    x = torch.randn(40, 2 * WIDTH)
    loader = DataLoader(list(x), batch_size=8, collate_fn=lambda rows: torch.stack(rows)[:, ::2])
    assert_trains_alike(ByHand, loader)


def test_sparse_gradients_are_trained_in_one_way_or_the_other():
    class Embedded(ByHand):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(3, WIDTH, sparse=True)

        def model(self, x, y):
            super().model(x)

        def guide(self, x, y):
            super().guide(x + self.embedding(y))

    data = (torch.randn(40, WIDTH), torch.arange(40) % 3)
    results = [run(Embedded, data, c, optimizer=lambda p: torch.optim.SGD(p, 1e-3))[:2] for c in (False, True)]
    (eager, history), (traced, traced_history) = results
    torch.testing.assert_close(traced.embedding.weight, eager.embedding.weight, rtol=1e-5, atol=1e-6)
    assert history[-1]["train_loss"] == pytest.approx(traced_history[-1]["train_loss"], rel=1e-5)


def test_no_parameter_with_a_gradient():
    """The error is that of an eager run, not one of the recording."""

    class Detached(ByHand):
        def encode(self, x):
            return super().encode(x).detach()

        def decode(self, z):
            return super().decode(z).detach()

    for compile in (False, True):
        with pytest.raises(pyvae.PairError):
            run(Detached, torch.randn(40, WIDTH), compile, epochs=1)


@pytest.mark.parametrize(("last", "traces"), [(2, 2), (6, 3)])
def test_a_schedule_of_an_attribute(interpreted, last, traces):
    """Annealing as it is often written: a number that changes is traced anew, but not again and again."""
    made = []

    class Annealed(ByHand):
        weight = 0.1

        def scale(self):
            return self.weight

    def annealing(optimizer):
        def factor(epoch):
            made[-1].weight = 0.1 * min(epoch + 1, last)
            return 1.0

        return LambdaLR(optimizer, factor)

    def trained(compile):
        pair, _, said = run(lambda: made.append(Annealed()) or made[-1], x, compile, schedule=annealing)
        return pair, said

    x = torch.randn(40, WIDTH)
    (eager, _), (traced, said) = trained(False), trained(True)
    assert_close(traced, eager)
    assert len(interpreted) == traces
    assert ["keep such numbers in buffers" in line for line in said] == ([True] if last > traces else [])
