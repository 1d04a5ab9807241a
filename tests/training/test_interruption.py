"""Ctrl-C while a pair is trained."""

import signal
import threading

import pytest
import torch

import pyvae
from pyvae.checkpoint import read_tensors
from pyvae.training.progress import TrainingProgress

X = torch.rand(40, 6).round()


@pytest.fixture
def pressed(monkeypatch):
    """Ctrl-C is pressed in these batches, counted from 1 over all epochs."""
    when, count = [], 0
    batch = TrainingProgress.batch

    def press(self, *arguments):
        nonlocal count
        count += 1
        batch(self, *arguments)
        for _ in range(when.count(count)):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingProgress, "batch", press)
    return when


def train(**changes):
    torch.manual_seed(0)
    vae = pyvae.recipes.gaussian(shape=(6,), latent_dim=2, hidden=[8])
    arguments = {"epochs": 5, "batch_size": 10, "seed": 1, "progress": False, **changes}
    return vae, pyvae.fit(vae, X, **arguments)


def same(pair, other):
    return all(torch.equal(t, other.state_dict()[n]) for n, t in pair.state_dict().items())


@pytest.mark.parametrize("validation", [None, X])
@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_interrupted_run_is_that_of_its_whole_epochs(validation, compile, pressed):
    shorter, whole = train(epochs=2, validation=validation, compile=compile)
    pressed.append(8 + 11)  # after the 8 batches of the shorter run
    with pytest.warns(UserWarning, match=r"interrupted in epoch 3 of 5: .* of 2 epochs"):
        pair, result = train(validation=validation, compile=compile)
    assert result.interrupted
    assert not whole.interrupted
    assert result.history == whole.history
    assert result.best_epoch == whole.best_epoch
    assert same(pair, shorter)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(tmp_path, pressed):
    straight, whole = train(checkpoint_dir=tmp_path / "straight")
    pressed.append(20 + 6)
    with pytest.warns(UserWarning, match="interrupted in epoch 2"):
        train(checkpoint_dir=tmp_path / "run")
    pair, result = train(checkpoint_dir=tmp_path / "run", resume=True)
    assert result == whole
    assert same(pair, straight)


def test_an_interruption_in_the_first_epoch_leaves_the_pair_as_it_was(pressed):
    pressed.append(2)
    torch.manual_seed(0)
    untrained = pyvae.recipes.gaussian(shape=(6,), latent_dim=2, hidden=[8])
    with pytest.warns(UserWarning, match="history is that of 0 epochs"):
        pair, result = train()
    assert result.history == []
    assert same(pair, untrained)


def test_the_second_time_stops_at_once(tmp_path, pressed):
    pressed += [6, 6]
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint_dir=tmp_path)
    assert len(read_tensors(tmp_path / "checkpoint.safetensors")[1]["history"]) == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_ones_own_is_left_alone(monkeypatch, pressed):
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    pressed.append(3)
    try:
        assert not train()[1].interrupted
        assert seen == [1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_in_a_thread(pressed):
    results = []
    thread = threading.Thread(target=lambda: results.append(train()[1]))
    thread.start()
    thread.join()
    assert len(results[0].history) == 5
