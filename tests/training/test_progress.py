"""What training tells while it goes on."""

import re
import sys

import pytest
import torch

import pyvae
from pyvae.training import progress
from pyvae.training.progress import TrainingProgress


@pytest.fixture
def clock(monkeypatch):
    """A clock that each look moves by as many seconds as its entry says."""
    now = {"time": 0.0, "step": 0.0}

    def look():
        now["time"] += now["step"]
        return now["time"]

    monkeypatch.setattr(progress, "monotonic", look)
    return now


def lines(capsys):
    return [line.rstrip() for line in capsys.readouterr().err.splitlines()]


def test_a_log_gets_a_line_for_each_tenth_of_the_epochs(clock, capsys):
    with TrainingProgress(epochs=40, batches=2, done=0, enabled=True) as shown:
        for epoch in range(1, 41):
            for _ in range(2):
                clock["time"] += 0.25
                shown.batch(lambda: -1.0)
            shown.epoch({"epoch": epoch, "train_elbo": -epoch})
    told = lines(capsys)
    assert [line.split()[1] for line in told] == [f"{n}/40" for n in range(4, 41, 4)]
    assert told[0] == "epoch 4/40  ELBO -4.00  18 s left"
    assert told[-1] == "epoch 40/40  ELBO -40.00"


def test_a_log_gets_a_line_every_half_minute(clock, capsys):
    with TrainingProgress(epochs=12, batches=100, done=2, enabled=True) as shown:
        for batch in range(1, 101):
            clock["time"] += 12.0
            shown.batch(lambda batch=batch: -float(batch))
        shown.epoch({"epoch": 3, "train_elbo": -5.0, "validation_elbo": -6.0})
    told = lines(capsys)
    assert told[0] == "epoch 3/12  batch 3/100  ELBO -3.00 so far  3 h 19 min left"
    assert told[1] == "epoch 3/12  batch 6/100  ELBO -6.00 so far  3 h 18 min left"
    assert told[-1] == "epoch 3/12  ELBO -5.00  val. ELBO -6.00  3 h 0 min left"
    assert len(told) == 33 + 1


def test_the_time_left_does_not_count_the_first_batch(clock, capsys):
    with TrainingProgress(epochs=2, batches=10, done=0, enabled=True) as shown:
        for seconds in (40.0, 1.0, 31.0):
            clock["time"] += seconds
            shown.batch(lambda: -1.0)
    assert lines(capsys) == [
        "epoch 1/2  batch 1/10  ELBO -1.00 so far",
        "epoch 1/2  batch 3/10  ELBO -1.00 so far  4 min 32 s left",
    ]


def test_a_log_of_data_whose_number_is_not_known(clock, capsys):
    with TrainingProgress(epochs=30, batches=None, done=0, enabled=True) as shown:
        for epoch in (1, 2):
            for _ in range(3):
                clock["time"] += 20.0
                shown.batch(lambda: None)
            shown.epoch({"epoch": epoch})
    assert lines(capsys) == [
        "epoch 1/30  batch 2",
        "epoch 2/30  batch 1  38 min 40 s left",
        "epoch 2/30  batch 3  58 min 0 s left",
    ]


def test_fit_tells_the_elbo_so_far(clock, capsys):
    clock["step"] = 20.0
    vae = pyvae.recipes.gaussian(shape=(6,), latent_dim=2, hidden=[8])
    pyvae.fit(vae, torch.rand(40, 6).round(), epochs=2, batch_size=4, seed=0)
    told = lines(capsys)
    within = [line for line in told if "batch" in line and "10/10" not in line]
    assert len(within) >= 4
    form = r"epoch \d/2  batch \d+/10  ELBO -\d\.\d\d so far  [\w ]+ left"
    assert all(re.fullmatch(form, line) for line in within[1:])


def test_nothing_is_told_where_that_is_asked_for(clock, capsys):
    clock["step"] = 20.0
    vae = pyvae.recipes.gaussian(shape=(6,), latent_dim=2, hidden=[8])
    pyvae.fit(vae, torch.rand(40, 6).round(), epochs=2, batch_size=4, seed=0, progress=False)
    assert lines(capsys) == []


def test_a_terminal_gets_a_bar_with_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with TrainingProgress(epochs=4, batches=1, done=1, enabled=True) as shown:
        for epoch in (2, 3):
            shown.batch(lambda: -1.0)
            shown.epoch({"epoch": epoch, "train_elbo": -7.0})
    bars = re.split("[\r\n]", capsys.readouterr().err)
    assert any(re.search(r"epoch 1/4 \|.*\|  25%", bar) for bar in bars)
    assert any(re.search(r"epoch 3/4 \|.*\|  75%, [\d:]+, [\d:?]+ left, ELBO -7.00", bar) for bar in bars)
