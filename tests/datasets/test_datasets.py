import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import pyvae
from pyvae import datasets
from pyvae.datasets import DataSplits, InMemory
from pyvae.errors import DataError


def test_digits_are_scikit_learns_split_without_overlap():
    data = datasets.digits()
    assert (len(data.train), len(data.test), data.shape, data.num_classes) == (1437, 360, (1, 8, 8), 10)
    x = torch.cat([data.train.tensors[0], data.test.tensors[0]]).flatten(1)
    rows = {tuple(row) for row in (load_digits().data / 16).astype(np.float32).tolist()}
    assert {tuple(row.tolist()) for row in x} == rows
    again = datasets.digits()
    assert torch.equal(data.test.tensors[1], again.test.tensors[1])


def test_dynamic_binarization_draws_anew_with_the_right_mean():
    data = datasets.dynamic_binarization(datasets.digits())
    rows = torch.zeros(4000, dtype=torch.long)
    x, y = data.train[rows]
    assert set(x.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(x[0], x[1])
    torch.testing.assert_close(x.mean(0), data.train.tensors[0][0], atol=0.04, rtol=0)
    assert y.shape == (4000,)
    assert data.preprocessing == ({"name": "dynamic_binarization"},)


def test_static_binarization_is_drawn_once():
    data = datasets.static_binarization(datasets.digits(), seed=3)
    everything = torch.arange(len(data.train))
    first, second = data.train[everything][0], data.train[everything][0]
    assert torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(first, datasets.static_binarization(datasets.digits(), seed=3).train[everything][0])
    assert not torch.equal(first, datasets.static_binarization(datasets.digits(), seed=4).train[everything][0])
    assert data.preprocessing[0]["seed"] == 3


def test_dequantization_spreads_each_level_over_its_cell():
    data = datasets.dequantization(datasets.digits())
    x = data.train[torch.arange(500)][0]
    levels = (data.train.tensors[0][:500] * 16).round()
    assert torch.equal((x * 17).floor().clamp(max=16), levels)
    cell = x * 17 - levels
    assert abs(cell.mean() - 0.5) < 0.01
    assert cell.min() >= 0


def test_every_preprocessing_says_which_levels_its_result_has():
    data = datasets.digits()
    for binarization in (datasets.static_binarization, datasets.dynamic_binarization):
        binary = binarization(data)
        assert (data.levels, binary.levels) == (17, 2)
        spread = datasets.dequantization(binary)
        x = spread.train[torch.arange(100)][0]
        assert spread.levels is None
        assert spread.preprocessing[-1] == {"name": "dequantization", "levels": 2}
        assert x.max() > 0.9  # each of the two has half of [0, 1]
        assert ((x > 0.4) & (x < 0.6)).any()
    assert datasets.no_preprocessing(data).levels == 17
    for continuous in (datasets.standardization, datasets.dequantization):
        assert continuous(data).levels is None
        said = (
            f"continuous after {continuous.__name__}: it has no levels to dequantize; if it had some, dequantize first"
        )
        with pytest.raises(DataError, match=said):
            datasets.dequantization(continuous(data))
    vae = pyvae.recipes.gaussian(data.shape, 2, [8])
    assert pyvae.encoded(data.without_labels(), vae).levels is None


def test_standardization_uses_the_training_data_alone_and_is_recorded():
    data = datasets.standardization(datasets.digits())
    train = data.train[torch.arange(len(data.train))][0]
    assert abs(train.mean()) < 1e-5
    assert abs(train.std() - 1) < 1e-5
    record = data.preprocessing[0]
    raw = datasets.digits()
    assert record["mean"] == pytest.approx([raw.train.tensors[0].mean().item()])
    json.dumps(data.preprocessing)


@pytest.mark.parametrize("unit", [1e20, 1e-24])
def test_units_in_which_squares_overflow_or_vanish_are_refused(unit, tmp_path):
    np.save(tmp_path / "x.npy", unit * np.random.default_rng(0).normal(size=(50, 3)))
    with pytest.raises(pyvae.DataError, match=r"a standard deviation is .*e(.20|-2\d), .*in other units"):
        datasets.standardization(datasets.arrays(str(tmp_path / "x.npy")))


def test_hold_out_splits_without_loss():
    data = datasets.digits()
    rest, held = data.hold_out(0.1, seed=1)
    assert (len(rest.train), len(held)) == (1437 - 144, 144)
    both = torch.cat([rest.train.tensors[0], held.tensors[0]]).flatten(1)
    assert both.unique(dim=0).shape == data.train.tensors[0].flatten(1).unique(dim=0).shape
    assert data.hold_out(0.0) == (data, None)


def test_columns_that_never_change_stay_finite():
    x = torch.cat([torch.ones(20, 1), torch.randn(20, 2)], 1)
    data = DataSplits("own", InMemory(x), InMemory(x), num_classes=0, levels=None)
    assert datasets.standardization(data).train[torch.arange(20)][0].isfinite().all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_arrays_from_npy_and_npz(tmp_path, dtype):
    x = np.random.default_rng(0).integers(0, 256, (50, 3, 4)).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    data = datasets.arrays(str(tmp_path / "x.npy"))
    assert (len(data.train), len(data.test), data.shape, data.num_classes) == (45, 5, (3, 4), 0)
    scale = 255 if dtype == np.uint8 else 1
    np.testing.assert_allclose(data.test[torch.arange(5)][0], x[9::10] / scale, rtol=1e-6)
    y = np.arange(50) % 7
    np.savez(tmp_path / "xy.npz", x=x, y=y, x_test=x[:6], y_test=y[:6])
    data = datasets.arrays(str(tmp_path / "xy.npz"))
    assert (len(data.train), len(data.test), data.num_classes) == (50, 6, 7)
    assert torch.equal(data.test.tensors[1], torch.from_numpy(y[:6]))


def test_image_folder(tmp_path):
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("RGB", (20, 30), (i, 0, 255)).save(tmp_path / name / f"{i}.png")
    data = datasets.image_folder(str(tmp_path), image_size=8)
    assert (len(data.train), len(data.test), data.shape, data.num_classes) == (18, 2, (3, 8, 8), 2)
    x, y = data.test[torch.arange(2)]
    assert x[0, :, 0, 0].tolist() == pytest.approx([9 / 255, 0, 1])
    assert y.tolist() == [0, 1]


@pytest.mark.parametrize(("modes", "channels"), [(("L", "L"), 1), (("L", "1"), 1), (("L", "RGB"), 3), (("P", "P"), 3)])
def test_grey_images_stay_grey(tmp_path, modes, channels):
    for folder, mode in zip(("cats", "dogs"), modes, strict=True):
        (tmp_path / folder).mkdir()
        for i in range(10):
            Image.new("L", (8, 8), 255 * (i > 8)).convert(mode).save(tmp_path / folder / f"{i}.png")
    (tmp_path / "cats" / "notes.txt").write_text("no image")
    data = datasets.image_folder(str(tmp_path), image_size=8)
    assert data.shape == (channels, 8, 8)
    assert torch.equal(data.test[torch.arange(2)][0], torch.ones(2, channels, 8, 8))


def test_torchvisions_layout_is_read(tmp_path):
    """MNIST's own file format, in a tiny edition of our own."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    labels = np.arange(5, dtype=np.uint8)
    for split in ("train", "t10k"):
        header = np.array([2051, 5, 28, 28], ">i4").tobytes()
        (raw / f"{split}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = np.array([2049, 5], ">i4").tobytes()
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
    data = datasets.mnist(str(tmp_path))
    x, y = data.train[torch.arange(5)]
    np.testing.assert_allclose(x[:, 0], images / 255, rtol=1e-6)
    assert y.tolist() == labels.tolist()
    assert (data.shape, data.levels) == ((1, 28, 28), 256)
