"""A run that is killed and resumed is the run that was not."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import pyvae
from pyvae.checkpoint import read_tensors
from pyvae.core import files

from .resumable import train

SCRIPT = Path(__file__).with_name("resumable.py")


def assert_same_run(directory, other):
    """The same bits: parameters, optimizer, best weights, metrics, settings."""
    assert (directory / "metrics.csv").read_bytes() == (other / "metrics.csv").read_bytes()
    mine, theirs = (read_tensors(d / "checkpoint.safetensors") for d in (directory, other))
    assert mine[1] == theirs[1]
    assert mine[0].keys() == theirs[0].keys()
    assert all(torch.equal(t, theirs[0][n]) for n, t in mine[0].items())


@pytest.mark.parametrize("stops", [(1,), (2, 3), (5,)])
def test_resumed_run_equals_the_uninterrupted_one(tmp_path, stops):
    schedule = {"schedule": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 3], gamma=0.5)}
    straight, result = train(tmp_path / "straight", 5, **schedule)
    for epochs in (*stops, 5):
        resumed, again = train(tmp_path / "resumed", epochs, **schedule)
    assert_same_run(tmp_path / "straight", tmp_path / "resumed")
    assert again == result
    assert all(torch.equal(p, q) for p, q in zip(straight.parameters(), resumed.parameters(), strict=True))


def test_plateau_schedule_and_momentum_resume_too(tmp_path):
    changes = {
        "schedule": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.3, patience=0, threshold=0.5),
        "optimizer": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    }
    train(tmp_path / "straight", 6, **changes)
    train(tmp_path / "resumed", 3, **changes)
    train(tmp_path / "resumed", 6, **changes)
    assert_same_run(tmp_path / "straight", tmp_path / "resumed")
    history = read_tensors(tmp_path / "straight" / "checkpoint.safetensors")[1]["history"]
    assert history[-1]["learning_rate"] < history[0]["learning_rate"]


def test_loader_with_a_generator_of_its_own_resumes(tmp_path):
    def run(directory, epochs):
        torch.manual_seed(0)
        vae = pyvae.recipes.gaussian(shape=(6,), latent_dim=2, hidden=[8])
        x = torch.utils.data.TensorDataset(torch.rand(40, 6).round())
        loader = torch.utils.data.DataLoader(x, 8, shuffle=True, generator=torch.Generator())
        pyvae.fit(vae, loader, epochs=epochs, seed=1, checkpoint_dir=directory, resume=True, progress=False)

    run(tmp_path / "straight", 4)
    for epochs in (1, 2, 4):
        run(tmp_path / "resumed", epochs)
    assert_same_run(tmp_path / "straight", tmp_path / "resumed")


def test_early_stopping_keeps_the_best_epoch_and_is_not_resumed_past(tmp_path):
    x = torch.rand(60, 8).round()
    vae = pyvae.recipes.gaussian(shape=(8,), latent_dim=2, hidden=[64])
    arguments = {"epochs": 200, "patience": 3, "seed": 0, "progress": False, "checkpoint_dir": tmp_path}
    data = {"data": x[:20], "validation": x[20:], "optimizer": lambda p: torch.optim.Adam(p, lr=0.03)}
    result = pyvae.fit(vae, **data, **arguments)
    assert len(result.history) == result.best_epoch + 3 < 200
    best = max(row["validation_elbo"] for row in result.history)
    assert result.history[result.best_epoch - 1]["validation_elbo"] == best
    again = pyvae.elbo(vae, x[20:], num_particles=500, seed=0)
    assert abs(again.value - best) < 1.5
    assert pyvae.fit(vae, **data, **arguments, resume=True) == result
    loaded = pyvae.load(tmp_path / "checkpoint.safetensors")
    assert all(torch.equal(p, q) for p, q in zip(loaded.parameters(), vae.parameters(), strict=True))


def kill_and_resume(tmp_path, kills, epochs, seed):
    """Kill the script at random moments until ``kills`` have hit a running training; then let it end."""
    draw = random.Random(seed)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(tmp_path / "killed"), str(epochs)]
    hits = 0
    while hits < kills:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        process.stdout.readline()
        time.sleep(draw.uniform(0.0, 1.2))
        hits += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        if process.returncode == 0:
            break
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    subprocess.run([*command[:2], str(tmp_path / "straight"), str(epochs)], check=True, env=environment)
    assert hits == kills
    assert_same_run(tmp_path / "straight", tmp_path / "killed")
    assert not list((tmp_path / "killed").glob(".*"))


def test_kill_nine(tmp_path):
    kill_and_resume(tmp_path, kills=1, epochs=40, seed=1)


@pytest.mark.slow
def test_twenty_kill_nine(tmp_path):
    kill_and_resume(tmp_path, kills=20, epochs=400, seed=0)


@pytest.mark.parametrize("stage", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch, stage):
    train(tmp_path / "run", 2)
    path = tmp_path / "run" / "checkpoint.safetensors"
    before = path.read_bytes()

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if stage == "write":
            real = open

            def full(file, mode="r", *args, **kwargs):
                opened = real(file, mode, *args, **kwargs)
                if mode == "wb":
                    opened = Full(opened)
                return opened

            patch.setattr(files, "open", full, raising=False)
        else:
            patch.setattr(files.os, stage, fail)
        with pytest.raises(pyvae.CheckpointError, match=r"No space left.*previous file stands"):
            train(tmp_path / "run", 4)
    assert path.read_bytes() == before
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["checkpoint.safetensors", "metrics.csv"]
    load_file(path)
    train(tmp_path / "run", 4)
    train(tmp_path / "straight", 4)


class Full:
    """A file on a disk that fills up after a few bytes."""

    def __init__(self, file):
        self.file = file

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def write(self, content):
        self.file.write(content[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def adam(rate, **settings):
    return lambda p: torch.optim.Adam(p, lr=rate, **settings)


def rates(result):
    return [row["learning_rate"] for row in result.history]


def test_a_learning_rate_that_is_changed_is_that_of_a_schedule_with_this_step(tmp_path):
    step = {"schedule": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 1.0 if epoch < 2 else 0.5)}
    straight, result = train(tmp_path / "straight", 4, optimizer=adam(0.004), **step)
    train(tmp_path / "resumed", 2, optimizer=adam(0.004), schedule=None)
    resumed, again = train(tmp_path / "resumed", 4, optimizer=adam(0.002), schedule=None, resume="changed")
    assert rates(again) == [0.004, 0.004, 0.002, 0.002]
    assert again.history == result.history
    assert all(torch.equal(p, q) for p, q in zip(straight.parameters(), resumed.parameters(), strict=True))
    train(tmp_path / "resumed", 5, optimizer=adam(0.002), schedule=None)  # the settings of the run are the new ones
    with pytest.raises(pyvae.CheckpointError, match=r"optimizer\.lr is 0\.004 now and was 0\.002"):
        train(tmp_path / "resumed", 6, optimizer=adam(0.004), schedule=None)


def test_what_else_may_be_changed(tmp_path):
    train(tmp_path, 1, optimizer=adam(0.004))
    changes = {"batch_size": 300, "clip_norm": None, "objective": pyvae.objectives.WeightedELBO(beta=2.0)}
    _, result = train(tmp_path, 2, optimizer=adam(0.004, betas=(0.5, 0.9)), schedule=None, resume="changed", **changes)
    header = read_tensors(tmp_path / "checkpoint.safetensors")[1]
    assert header["optimizer"]["param_groups"][0]["betas"] == {"tuple": [0.5, 0.9]}
    assert header["settings"]["batch_size"] == 300
    assert rates(result)[1] == 0.004  # without its schedule
    last = result.history[-1]
    assert last["train_loss"] == pytest.approx(2 * last["train_kl"] - last["train_reconstruction"])


@pytest.mark.parametrize(
    ("changes", "match"),
    [({"seed": 8}, "seed is 8 now and was 7"), ({"optimizer": torch.optim.SGD}, "optimizer is SGD")],
)
def test_what_may_not_be_changed(changes, match, tmp_path):
    train(tmp_path, 1)
    with pytest.raises(pyvae.CheckpointError, match=match):
        train(tmp_path, 2, resume="changed", **changes)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_a_schedule_over_the_run_is_that_of_the_longer_run_after_a_resumption(name, tmp_path):
    train(tmp_path / "resumed", 2, schedule=name)
    _, resumed = train(tmp_path / "resumed", 6, schedule=name)
    _, straight = train(tmp_path / "straight", 6, schedule=name)
    assert rates(resumed)[2:] == rates(straight)[2:]
    assert rates(resumed)[1] < rates(resumed)[2]


def test_a_warm_up_over_a_part_of_the_run_is_that_of_the_longer_run_after_a_resumption(tmp_path):
    def warm_up(epochs):
        objective = pyvae.objectives.WeightedELBO(beta=pyvae.objectives.WarmUp(0.5))
        return train(tmp_path, epochs, objective=objective, schedule=None)[1].history

    warm_up(2)
    weights = [(row["train_loss"] + row["train_reconstruction"]) / row["train_kl"] for row in warm_up(8)]
    assert weights == pytest.approx([1, 1, 3 / 4, 1, 1, 1, 1, 1], rel=1e-3)
