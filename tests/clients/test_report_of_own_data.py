"""The report of runs on data of one's own: photos, recordings, arrays."""

import io
import re
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from pyvae.cli.main import main
from tests.clients.reports import page_of, read_of


def test_classes_have_their_names(tmp_path):
    for name, grey in (("cat", 40), ("a long name", 200)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(np.full((8, 8), grey + i, np.uint8)).save(tmp_path / "photos" / name / f"{i}.png")
    run = tmp_path / "run"
    options = [f"--data={tmp_path / 'photos'}", "--image-size=8", "--epochs=1", "--no-progress", "--hidden=[8]"]
    assert main(["fit", "conditional", *options, f"--run-dir={run}"]) == 0
    (read,) = read_of(page_of(run), "map")
    assert read["classes"] == ["a long name"] * 2 + ["cat"] * 2
    assert "conditional on photos" in page_of(run)
    assert "image size</td><td>8<" in page_of(run)
    assert "audio length" not in page_of(run)
    assert str(tmp_path) not in page_of(run)


def test_recordings_are_heard(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    tone = np.sin(np.arange(1000) / 5) / 2
    for i in range(20):
        soundfile.write(tmp_path / f"{i:02}.wav", tone * (1 + i) / 20, 4000)
    run, options = tmp_path / "run", ["--likelihood=Normal", "--preprocessing=no_preprocessing", "--hidden=[8]"]
    words = ["fit", "gaussian", f"--data={tmp_path}", "--audio-length=1024", "--epochs=1", "--no-progress"]
    assert main([*words, *options, f"--run-dir={run}"]) == 0
    heard = re.findall('src="data:audio/wav;base64,([^"]*)"', page_of(run))
    assert len(heard) == 3 + 2 * 2  # samples; both of the test data and their reconstructions
    assert "audio length</td><td>1024<" in page_of(run)
    assert "image size" not in page_of(run)
    sound, rate = soundfile.read(io.BytesIO(b64decode(heard[3])))
    assert rate == 4000
    assert np.allclose(sound[:1000], tone / np.abs(tone).max(), atol=1e-3)


def test_a_run_on_a_file_names_it_without_its_folder(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.random.default_rng(0).normal(size=(60, 5)))
    options = ["--likelihood=Normal", "--preprocessing=standardization", "--epochs=1", "--no-progress"]
    run = tmp_path / "run"
    assert main(["fit", "gaussian", f"--data={tmp_path / 'own.npz'}", *options, f"--run-dir={run}"]) == 0
    page = page_of(run)
    assert "gaussian on own.npz" in page
    assert str(tmp_path) not in page
    (read,) = read_of(page, "map")
    assert read["height"] == 1  # a vector is a strip
    assert read["classes"] == []
