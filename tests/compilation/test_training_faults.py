"""Runs that end before their time: by NaN, with the error of an eager run; or by a stop, to be resumed."""

import functools
import sys

import pytest
import torch
from torch.optim import SGD, Adam, AdamW

import pyvae
from tests.compilation.pairs import WIDTH, ByHand, Layers
from tests.compilation.training_runs import run

ROWS, BAD = 40, 25


class Directions(ByHand):
    """Divides each datapoint by its length: NaN for one of zeros."""

    def encode(self, x):
        return super().encode(x / x.norm(dim=-1, keepdim=True))


class Lengths(ByHand):
    """Takes a root, whose derivative at zero is infinite, of a function of parameters: a loss without a gradient."""

    def encode(self, x):
        return (self.encoder.weight.sum() * x).square().sum(-1, keepdim=True).sqrt() + super().encode(x)


def data():
    x = torch.randn(ROWS, WIDTH)
    x[BAD] = 0.0  # neither of the first batch nor the smallest or largest: found by no check before training
    return x


def failure(make, compile, **arguments):
    torch.manual_seed(3)
    x = data()
    with pytest.raises(pyvae.NonFiniteError) as caught:
        run(make, x, compile, **arguments)
    return str(caught.value)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("optimizer", [Adam, functools.partial(SGD, lr=1e-6)], ids=["Adam", "SGD"])
@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        (Directions, "the value of site 'z' of the guide is not finite in epoch 1, batch [2-5]"),
        (Lengths, "the gradient of parameter 'encoder.weight' is not finite in epoch 1, batch [2-5]"),
    ],
)
def test_the_error_names_what_an_eager_run_names(interpreted, make, culprit, optimizer, clip_norm):
    eager, traced = (failure(make, c, optimizer=optimizer, clip_norm=clip_norm) for c in (False, True))
    assert len(interpreted) == 1
    assert eager == traced
    with pytest.raises(pyvae.NonFiniteError, match=culprit):
        raise pyvae.NonFiniteError(traced)


def test_a_rate_that_is_too_large(interpreted):
    eager, traced = (failure(ByHand, c, optimizer=functools.partial(AdamW, lr=1e30), seed=2) for c in (False, True))
    assert eager == traced


def test_the_last_checkpoint_stands(interpreted, tmp_path):
    """What the bad step has made of the weights is not written."""
    run(Directions, torch.randn(ROWS, WIDTH), True, epochs=2, checkpoint_dir=tmp_path)
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(pyvae.NonFiniteError, match="in epoch 3, batch"):
        run(Directions, data(), True, epochs=4, checkpoint_dir=tmp_path, resume=True)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept


RESUMED = {
    "Adam": (ByHand, {"optimizer": functools.partial(Adam, lr=1e-2)}),
    "AdamW, clipped, scheduled": (
        ByHand,
        {
            "optimizer": functools.partial(AdamW, lr=1e-2, weight_decay=0.1),
            "clip_norm": 1.0,
            "schedule": functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5),
        },
    ),
    "SGD, batch statistics and dropout": (Layers, {"optimizer": functools.partial(SGD, lr=1e-3, momentum=0.9)}),
    "Adam, batch statistics and dropout": (Layers, {}),
}


@pytest.mark.parametrize(("case", "rows"), [*((case, ROWS - 3) for case in RESUMED), ("Adam", ROWS), ("Adam", 8)])
def test_a_resumed_run_ends_with_the_same_bits(interpreted, tmp_path, case, rows):
    """Rows that leave a smaller last batch, or make one batch an epoch, so that the first step is an epoch."""
    make, arguments = RESUMED[case]
    x = torch.randn(ROWS, WIDTH)[:rows]
    whole, history, _ = run(make, x, True, epochs=5, **arguments)
    run(make, x, True, epochs=1, checkpoint_dir=tmp_path, **arguments)
    run(make, x, True, epochs=3, checkpoint_dir=tmp_path, resume=True, **arguments)
    resumed, resumed_history, said = run(make, x, True, epochs=5, checkpoint_dir=tmp_path, resume=True, **arguments)
    assert not said
    assert resumed_history == history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


@pytest.fixture
def few_are_worth_it(monkeypatch):
    """Runs are compiled by default from 20 steps on."""
    monkeypatch.setattr(sys.modules["pyvae.training.fit"], "_WORTH_COMPILING", 20)


def test_long_runs_are_compiled_by_default_and_shorter_ones_are_not(interpreted, few_are_worth_it):
    x = torch.randn(ROWS, WIDTH)
    run(ByHand, x[:-8], None, epochs=4)
    assert not interpreted
    run(ByHand, x, None, epochs=4)
    assert len(interpreted) == 1


def test_a_short_run_can_be_made_longer_by_default(interpreted, few_are_worth_it, tmp_path):
    """Though what has been eager so far is then compiled."""
    x = torch.randn(ROWS, WIDTH)
    run(ByHand, x, None, epochs=3, checkpoint_dir=tmp_path)
    assert not interpreted
    run(ByHand, x, None, epochs=5, checkpoint_dir=tmp_path, resume=True)
    assert len(interpreted) == 1
