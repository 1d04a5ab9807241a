"""Recordings as data."""

import sys

import numpy as np
import pytest
import soundfile
import torch

import pyvae
from pyvae import datasets
from tests.clients.recordings import RATE, write_recordings


@pytest.fixture
def folder(tmp_path):
    write_recordings(tmp_path / "recordings")
    return tmp_path / "recordings"


def test_a_folder_gives_channels_of_floats_by_class(folder):
    data = datasets.audio_folder(str(folder), length=2000)
    assert data.shape == (1, 2000)
    assert (len(data.train), len(data.test), data.num_classes, data.levels) == (18, 2, 2, None)
    x, y = data.test[:]
    assert y.tolist() == [0, 1]
    assert torch.equal(x.abs().amax((1, 2)), torch.ones(2))
    assert not x[:, :, 1700:].any()
    samples, _ = soundfile.read(folder / "high" / "9.wav", dtype="float32")
    np.testing.assert_allclose(x[0, 0, : len(samples)], samples / np.abs(samples).max(), rtol=1e-6)


def test_long_ones_are_cut_and_channels_averaged(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(2):
        soundfile.write(tmp_path / f"{i}.wav", rng.uniform(-0.5, 0.5, (300, 2)), RATE, subtype="FLOAT")
    data = datasets.audio_folder(str(tmp_path), length=100, test=lambda path: path.stem == "1")
    samples, _ = soundfile.read(tmp_path / "0.wav", dtype="float32")
    mono = samples.mean(1)[:100]
    assert data.num_classes == 0
    np.testing.assert_allclose(data.train[:][0][0, 0], mono / np.abs(mono).max(), rtol=1e-5)


def test_names_and_splits_are_taken_as_they_are_meant(folder):
    (folder / "low" / "3.wav").rename(folder / "low" / "3.WAV")
    data = datasets.audio_folder(str(folder), length=64, test=lambda path: int(path.stem == "3"))
    assert (len(data.train), len(data.test)) == (18, 2)
    assert data.preprocessing == ({"name": "recording", "rate": RATE},)


def test_silence_stays_silence(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(50), RATE)
    assert not datasets.read_audio([tmp_path / "a.wav"], 60).any()


def test_spoken_digits_are_split_as_published(tmp_path):
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for digit in range(2):
        for speaker in ("theo", "george"):
            for take in (0, 4, 5, 12):
                soundfile.write(folder / f"{digit}_{speaker}_{take}.wav", np.full(30, 0.5), 8000)
    data = datasets.spoken_digits(str(tmp_path))
    assert (len(data.train), len(data.test), data.num_classes, data.shape) == (8, 8, 2, (1, 6144))
    assert data.test.tensors[1].tolist() == [0, 0, 1, 1] * 2


@pytest.mark.parametrize("case", ["nothing", "broken", "rates", "length", "one split", "no digits", "NaN", "stray"])
def test_what_cannot_be_read(case, folder, tmp_path):
    match, call = "", lambda: datasets.audio_folder(str(folder))
    if case == "nothing":
        match, call = "no wav files", lambda: datasets.audio_folder(str(tmp_path / "nowhere"))
    elif case == "broken":
        (folder / "low" / "3.wav").write_bytes(b"no recording")
        match = "cannot read .*3.wav"
    elif case == "rates":
        soundfile.write(folder / "low" / "3.wav", np.zeros(50), 8000)
        match = "different rates: 4000 Hz .* 8000 Hz"
    elif case == "length":
        match, call = "length is 0", lambda: datasets.audio_folder(str(folder), length=0)
    elif case == "one split":
        match, call = "20 training and 0 test", lambda: datasets.audio_folder(str(folder), test=lambda path: False)
    elif case == "NaN":
        soundfile.write(folder / "low" / "3.wav", np.full(50, np.nan), RATE, subtype="FLOAT")
        match = "3.wav holds NaN"
    elif case == "stray":
        (tmp_path / "fsdd").mkdir()
        folder.rename(tmp_path / "fsdd" / "recordings")
        match, call = "none of the recordings", lambda: datasets.spoken_digits(str(tmp_path))
    else:
        match, call = "clone https", lambda: datasets.spoken_digits(str(tmp_path))
    with pytest.raises(pyvae.PyvaeError, match=match):
        call()


def test_without_soundfile(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(pyvae.ArgumentError, match=r"pip install 'pyro-vae\[audio\]'"):
        datasets.audio_folder(str(folder))
