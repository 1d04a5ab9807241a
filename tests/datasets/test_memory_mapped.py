"""Data that stay on disk."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

import pyvae
from pyvae.datasets import memory_mapped
from pyvae.datasets.data import InMemory

TRAIN = """
import json, resource, sys
import pyvae
data = pyvae.datasets.memory_mapped(sys.argv[1])
vae = pyvae.recipes.gaussian(shape=tuple(data[0][0].shape), latent_dim=2, hidden=[4])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pyvae.fit(vae, data, epochs=1, batch_size=int(sys.argv[2]), seed=0, progress=False)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([before / 2**10, after / 2**10]))
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).random((60, 1, 4, 4)))
    return path


def peaks(path, rows, columns, batch_size):
    """Peak memory before and after an epoch on a sparse file, in MiB."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, columns))
    del array
    command = [sys.executable, "-c", TRAIN, str(path), str(batch_size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_rows_are_those_of_the_array(path):
    array, data = np.load(path).astype(np.float32), memory_mapped(path)
    assert len(data) == 60
    for index in (3, slice(2, 7), torch.tensor([5, 1, 5]), [4, 0]):
        (rows,) = data[index]
        assert rows.dtype == torch.float32
        assert np.array_equal(rows.numpy(), array[index])


def test_bytes_become_intensities_and_labels_stay(path, tmp_path):
    np.save(tmp_path / "bytes.npy", np.full((60, 3), 51, np.uint8))
    np.save(tmp_path / "y.npy", np.arange(60))
    x, y = memory_mapped(tmp_path / "bytes.npy", tmp_path / "y.npy")[torch.arange(2)]
    assert torch.equal(x, torch.full((2, 3), 0.2))
    assert torch.equal(y, torch.arange(2))


@pytest.mark.parametrize("kind", [">f4", ">f8", "<f2", ">i4", "u1"])
def test_types_of_other_machines(tmp_path, kind):
    array = np.arange(12).reshape(4, 3).astype(kind)
    np.save(tmp_path / "x.npy", array)
    np.save(tmp_path / "y.npy", array)
    _, y = memory_mapped(tmp_path / "x.npy", tmp_path / "y.npy")[torch.arange(4)]
    assert np.array_equal(y.numpy(), array)


def test_paths_outlive_a_change_of_directory(path, tmp_path, monkeypatch):
    monkeypatch.chdir(path.parent)
    data = memory_mapped(path.name)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert len(pickle.loads(pickle.dumps(data))) == 60


def test_training_is_that_of_the_same_data_in_memory(path):
    def weights(data):
        torch.manual_seed(0)
        vae = pyvae.recipes.gaussian(shape=(1, 4, 4), latent_dim=2, hidden=[4])
        pyvae.fit(vae, data, epochs=2, batch_size=16, seed=0, progress=False)
        return torch.cat([p.detach().flatten() for p in vae.parameters()])

    whole = torch.from_numpy(np.load(path).astype(np.float32))
    assert torch.equal(weights(memory_mapped(path)), weights(whole))


def test_evaluation_takes_it(path):
    vae = pyvae.recipes.gaussian(shape=(1, 4, 4), latent_dim=2, hidden=[4])
    whole = torch.from_numpy(np.load(path).astype(np.float32))
    on_disk, in_memory = (pyvae.elbo(vae, data, num_particles=3, seed=0) for data in (memory_mapped(path), whole))
    assert torch.equal(on_disk.per_datapoint, in_memory.per_datapoint)


def test_it_goes_to_the_workers_of_a_loader_as_its_paths(path):
    data = memory_mapped(path)
    assert len(pickle.dumps(data)) < 1000
    batches = [x for (x,) in DataLoader(data, 20, num_workers=1, multiprocessing_context="spawn")]
    assert np.array_equal(torch.cat(batches).numpy(), np.load(path).astype(np.float32))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "cannot be read as a .npy array"),
        (b"no array", "cannot be read as a .npy array"),
        (np.float32(3.0), "no array of numbers with one row per datapoint"),
        (np.zeros((0, 3)), "no array of numbers|cannot be read"),
        (np.array(["a", "b"]), "no array of numbers"),
        (np.zeros(3, np.longdouble), "no array of numbers"),
        (np.array([{}, {}], dtype=object), "cannot be read as a .npy array"),
    ],
    ids=["absent", "no array", "a number", "empty", "text", "long doubles", "objects"],
)
def test_what_cannot_be_taken(tmp_path, content, match):
    path = tmp_path / "x.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content)
    with pytest.raises(pyvae.DataError, match=match):
        memory_mapped(path)


def test_files_of_other_lengths(path, tmp_path):
    np.save(tmp_path / "y.npy", np.arange(3))
    with pytest.raises(pyvae.DataError, match=r"\[60, 3\] rows; expected equally many"):
        memory_mapped(path, tmp_path / "y.npy")


def test_nan_is_reported_when_it_is_met(path):
    array = np.load(path, mmap_mode="r+")
    array[40, 0, 0, 0] = np.nan
    array.flush()
    vae = pyvae.recipes.gaussian(shape=(1, 4, 4), latent_dim=2, hidden=[4])
    with pytest.raises(pyvae.NonFiniteError, match="input 0 of the batch is not finite in epoch 1, batch"):
        pyvae.fit(vae, memory_mapped(path), batch_size=16, seed=0, progress=False)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is given back by madvise")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    before, after = peaks(tmp_path / "x.npy", 2**18, 2**10, 4096)  # 1 GiB
    assert after - before < 400


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is given back by madvise")
def test_twenty_gibibytes_take_less_than_two(tmp_path):
    _, after = peaks(tmp_path / "x.npy", 20 * 2**30 // (4 * 3072), 3072, 2048)
    assert after < 2048


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_loader_takes_its_rows_at_once(path, in_memory):
    sizes = []

    def counted(x):
        sizes.append(len(x))
        return x

    x = torch.from_numpy(np.load(path)).float()
    data = InMemory(x, torch.arange(60), transform=counted) if in_memory else memory_mapped(path, transform=counted)
    for source, rows in ((data, x), (Subset(data, range(1, 60, 2)), x[1::2])):
        sizes.clear()
        batches = list(DataLoader(source, batch_size=10))
        assert sizes == [10] * len(batches)
        assert torch.equal(torch.cat([batch[0] for batch in batches]), rows)
