"""Several processes train one pair."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import pyvae
from pyvae.batching.sharding import Shard

SCRIPT = Path(__file__).with_name("together.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(processes, directory, options):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *(launcher if processes > 1 else []), str(SCRIPT), str(directory), json.dumps(options)]


def train(processes, directory, **options):
    """The weights of every process."""
    directory.mkdir(exist_ok=True)
    done = subprocess.run(
        command(processes, directory, options), env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(directory / f"{rank}-of-{processes}.pt") for rank in range(processes)], done.stderr


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_processes_are_one_with_the_doubled_batch(tmp_path, compile):
    options = {"epochs": 5, "clip_norm": 20.0, "compile": compile}
    (alone,), _ = train(1, tmp_path / "one", batch_size=40, **options)
    (first, second), _ = train(2, tmp_path / "two", batch_size=20, **options)  # 50 steps
    assert same(first, second)
    for name, tensor in alone.items():
        torch.testing.assert_close(first[name], tensor, rtol=1e-5, atol=1e-5)
    histories = [json.loads((tmp_path / d / "history-0.json").read_text()) for d in ("one", "two")]
    for one, two in zip(*histories, strict=True):
        assert two == pytest.approx(one, rel=1e-5)


def test_processes_draw_noise_of_their_own_and_agree(tmp_path):
    (first, second), _ = train(2, tmp_path / "two", batch_size=20, epochs=2, noisy=True)
    (alone,), _ = train(1, tmp_path / "one", batch_size=40, epochs=2, noisy=True)
    assert same(first, second)
    assert not same(first, alone)


@pytest.mark.slow
def test_a_loader_is_divided(tmp_path):
    (first, second), _ = train(2, tmp_path / "two", batch_size=20, epochs=2, loader=True)
    assert same(first, second)


@pytest.mark.slow
def test_a_killed_process_ends_the_job_and_the_run_goes_on_with_the_same_bits(tmp_path):
    options = {"epochs": 6, "batch_size": 20, "noisy": True, "resume": True}
    (whole, _), _ = train(2, tmp_path / "whole", checkpoint_dir=str(tmp_path / "whole"), **options)
    directory = tmp_path / "killed"
    directory.mkdir()
    long = options | {"epochs": 100_000, "checkpoint_dir": str(directory)}
    job = subprocess.Popen(command(2, directory, long), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    checkpoint = directory / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not (directory / "metrics.csv").exists():
        assert job.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = subprocess.run(["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(pids[-1]), signal.SIGKILL)
    _, errors = job.communicate(timeout=120)
    assert job.returncode != 0
    # the other process says so, unless torchrun, which names the one that was killed, is faster to end it
    assert "has lost the others" in errors or "SIGKILL" in errors, errors
    epochs = pyvae.training.state.read_tensors(checkpoint)[1]["history"]
    assert epochs

    directory = tmp_path / "again"
    train(2, directory, checkpoint_dir=str(directory), **(options | {"epochs": 3}))
    (resumed, _), _ = train(2, directory, checkpoint_dir=str(directory), **options)
    assert same(whole, resumed)


def test_another_number_of_processes_goes_on_with_a_warning(tmp_path):
    options = {"batch_size": 20, "noisy": True, "resume": True, "checkpoint_dir": str(tmp_path)}
    train(2, tmp_path, epochs=2, **options)
    _, errors = train(1, tmp_path, epochs=3, **options)
    assert "of a run of 2 processes and goes on with 1" in errors


@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 5))
def test_shards_hold_every_row_once_in_the_order_of_one_process(size, batch_size, count):
    order = torch.randperm(size)
    if size < count:
        with pytest.raises(pyvae.DataError, match="at least one for each"):
            Shard(0, count).rows(order, batch_size)
        return
    parts = [Shard(rank, count).rows(order, batch_size) for rank in range(count)]
    steps = list(zip(*parts, strict=True))
    assert torch.equal(torch.cat([rows for step in steps for rows in step]), order)
    assert all(len(rows) for step in steps for rows in step)
    assert [sum(map(len, step)) for step in steps] == Shard(0, count).sizes(size, batch_size)
