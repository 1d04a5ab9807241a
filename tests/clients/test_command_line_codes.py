"""Vector-quantized VAEs on the command line: training, figures, and files to tokens and back."""

import csv
import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import pyvae
from pyvae.cli.main import main
from tests.clients.recordings import write_recordings

SMALL = ["--num-codes=8", "--dim=4"]
NETWORK = '--prior_network={"class_path":"pyvae.networks.PixelCNN","init_args":{"channels":8,"layers":2}}'
OPTIONS = {
    "vqvae": ["--channels=[8]"],
    "conditional_vqvae": ["--channels=[8]"],
    "vqvae2": ["--channels=[8,8]"],
    "speech": ["--channels=[4,8]", "--strides=[8,8]", "--audio-length=2048"],
}
SITES = {"vqvae2": ["k_top", "k_bottom"]}


def fitted(recipe, directory, *more):
    quick = ["--epochs=2", "--no-progress", f"--run-dir={directory}"]
    return main(["fit", recipe, *quick, *SMALL, NETWORK, *OPTIONS[recipe], *more])


@pytest.fixture(scope="module", params=OPTIONS)
def run(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / request.param
    more = []
    if request.param == "speech":
        folder = tmp_path_factory.mktemp("recordings")
        write_recordings(folder)
        more = [f"--data={folder}"]
    assert fitted(request.param, directory, *more) == 0
    return directory


def test_a_run_tells_how_its_codes_are_used(run):
    figures = json.loads((run / "evaluation.json").read_text())
    assert "log_likelihood" not in figures
    with (run / "metrics.csv").open() as file:
        (*_, row) = csv.DictReader(file)
    page = (run / "report.html").read_text()
    for site in SITES.get(run.name, ["k"]):
        assert 1 <= figures[f"perplexity_{site}"] <= 8
        assert figures[f"usage_{site}"] == pytest.approx(1 - figures[f"dead_codes_{site}"] / 8)
        assert figures[f"bits_{site}"] == pytest.approx(figures[f"kl_{site}"] / np.log(2))
        assert figures[f"uniform_bits_{site}"] % 3 == 0
        assert {f"validation_{name}_{site}" for name in ("perplexity", "usage", "dead_codes")} <= row.keys()
        assert f"Perplexity of {site}" in page
    assert (run / "codes.png").exists()


def test_a_run_is_gone_on_with(run, tmp_path):
    output = tmp_path / "x.npy"
    assert main(["sample", str(run), "--count", "4", "--output", str(output)]) == 0
    assert np.load(output).shape == (4, *((1, 2048) if run.name == "speech" else (1, 8, 8)))
    assert main(["reconstruct", str(run), "--count", "2"]) == 0
    assert main(["evaluate", str(run), "--num-particles", "2"]) == 0
    pair = pyvae.load(run / "model.safetensors")
    assert pair.code_sites == tuple(SITES.get(run.name, ["k"]))


def write_images(folder, count=5):
    (folder / "inner").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        picture = Image.fromarray(rng.integers(0, 256, (10, 9), dtype=np.uint8))
        picture.save(folder / ("inner" if i % 2 else ".") / f"image {i}.{'png' if i < 3 else 'bmp'}")


def test_files_become_tokens_and_files_again(run, tmp_path, capsys):
    source, tokens, back = tmp_path / "source", tmp_path / "tokens", tmp_path / "back"
    speech = run.name == "speech"
    write_recordings(source) if speech else write_images(source)
    label = ["--label=1"] if run.name in ("speech", "conditional_vqvae") else []
    assert main(["encode", str(run), str(source), *label, f"--output={tokens}"]) == 0
    record = json.loads((tokens / "tokens.json").read_text())
    files = sorted(str(p.relative_to(source)) for p in source.rglob("*.*"))
    assert record["files"] == files
    assert record["recipe"]["name"] == run.name
    for site in SITES.get(run.name, ["k"]):
        codes = np.load(tokens / f"{site}.npy")
        assert codes.dtype == np.int64
        assert len(codes) == len(files)
        assert 0 <= codes.min() <= codes.max() < 8
    assert main(["decode", str(run), str(tokens), f"--output={back}"]) == 0
    assert len([p for p in back.rglob("*") if p.is_file()]) == len(files)
    if speech:
        samples, rate = soundfile.read(back / files[0])
        assert (samples.shape, rate) == ((2048,), 4000)
        other = tmp_path / "other"
        assert main(["decode", str(run), str(tokens), "--label=0", f"--output={other}"]) == 0
        assert not np.array_equal(soundfile.read(other / files[0])[0], samples)
    else:
        assert {p.name for p in back.rglob("*.png")} == {f"image {i}.png" for i in range(3)} | {
            f"image {i}.bmp.png" for i in range(3, 5)
        }
        assert Image.open(back / "image 0.png").size == (8, 8)
    assert main(["encode", str(run), str(source), *label, f"--output={tokens}"]) == 2
    assert "not overwritten" in capsys.readouterr().err


def refused(capsys, *words):
    assert main([str(w) for w in words]) == 2
    return capsys.readouterr().err


def test_mistakes_with_tokens(tmp_path, capsys):
    run, other, source, tokens = (tmp_path / name for name in ("run", "other", "source", "tokens"))
    assert fitted("vqvae", run) == 0
    assert fitted("vqvae", other, "--seed=1") == 0
    write_images(source)
    assert main(["encode", str(run), str(source), f"--output={tokens}"]) == 0
    assert "other weights" in refused(capsys, "decode", other, tokens)
    assert "label is 3; expected none" in refused(capsys, "encode", run, source, "--label=3")
    assert "no files" in refused(capsys, "encode", run, tmp_path / "nowhere")
    assert "cannot read tokens" in refused(capsys, "decode", run, source)
    (source / "image 0.png").write_bytes(b"no image")
    assert "cannot read the image" in refused(capsys, "encode", run, source)
    np.save(tokens / "k.npy", np.load(tokens / "k.npy") + 100)
    assert "expected 0 to 7" in refused(capsys, "decode", run, tokens)
    np.save(tokens / "k.npy", np.zeros((2, 4, 4), dtype=np.int64))
    assert "2] grids of 5 files" in refused(capsys, "decode", run, tokens)
    record = json.loads((tokens / "tokens.json").read_text())

    def with_record(**changes):
        (tokens / "tokens.json").write_text(json.dumps(record | {"files": ["a.png", "b.png"]} | changes))
        return refused(capsys, "decode", run, tokens, f"--output={tmp_path / 'never'}")

    assert "outside of its folder" in with_record(files=["../outside.png"] * 2)
    assert not (tmp_path / "outside.png").exists()
    assert "would be decoded as a.jpg.png" in with_record(files=["a.jpg", "a.jpg.png"])
    for changes in ({"files": 5}, {"files": [1, 2]}, {"label": "x"}, {"label": [1]}, {"files": None}, {"rate": "x"}):
        assert refused_once(with_record(**changes))
    (tokens / "tokens.json").write_text(json.dumps(record | {"files": ["a", "b"]}))
    for content in (b"", b"PK", np.float32(1)):
        np.save(tokens / "k.npy", content) if isinstance(content, np.float32) else (tokens / "k.npy").write_bytes(
            content
        )
        assert "cannot read tokens" in refused(capsys, "decode", run, tokens)
    np.save(tokens / "k.npy", np.zeros((2, 4, 4), dtype=bool))
    assert "expected ints" in refused(capsys, "decode", run, tokens)
    np.save(tokens / "k.npy", np.zeros((2, 4, 4), dtype=np.uint16))
    assert main(["decode", str(run), str(tokens), f"--output={tmp_path / 'never'}"]) == 0


def refused_once(message):
    return "cannot read tokens" in message or "is damaged" in message


def test_mistakes_with_files(tmp_path, capsys):
    run, source = tmp_path / "run", tmp_path / "source"
    assert fitted("vqvae", run) == 0
    write_images(source, 2)
    assert "is no folder" in refused(capsys, "encode", run, source, f"--output={source / 'image 0.png' / 'x'}")
    Image.fromarray((np.arange(64).reshape(8, 8) * 1024).astype("uint16")).save(source / "deep.png")
    assert "more than 8 bits" in refused(capsys, "encode", run, source)
    (source / "deep.png").rename(source / "deep.ppm")
    (source / "deep.ppm").write_bytes(b"P6 8 x 255 ")
    assert "cannot read the image" in refused(capsys, "encode", run, source)
    (source / "deep.ppm").unlink()
    Image.new("L", (8, 8)).save(source / "image 0.png.png")
    Image.new("L", (8, 8)).save(source / "image 0.bmp")
    Image.new("L", (8, 8)).save(source / "image 0.bmp.png")
    assert "two files would be decoded as image 0.bmp.png" in refused(capsys, "encode", run, source)


def test_mistakes_with_recordings(tmp_path, capsys):
    run, data, source = tmp_path / "run", tmp_path / "data", tmp_path / "source"
    write_recordings(data)
    assert fitted("speech", run, f"--data={data}", "--epochs=1") == 0
    source.mkdir()
    soundfile.write(source / "a.wav", np.full(99, np.nan), 4000, subtype="FLOAT")
    assert "NaN" in refused(capsys, "encode", run, source, "--label=0")
    soundfile.write(source / "a.wav", np.zeros(99), 8000)
    assert "8000 samples per second; expected 4000" in refused(capsys, "encode", run, source, "--label=0")
    soundfile.write(source / "b.wav", np.zeros(99), 4000)
    assert "different rates" in refused(capsys, "encode", run, source, "--label=0")
    (source / "a.wav").write_bytes(b"")
    assert "cannot read" in refused(capsys, "encode", run, source, "--label=0")


def test_pairs_without_codes_have_no_tokens(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["fit", "gaussian", "--hidden=[8]", "--epochs=1", "--no-progress", f"--run-dir={run}"]) == 0
    assert "has no codes" in refused(capsys, "encode", run, tmp_path)


QUANTIZERS = {
    "finite": '{"class_path":"pyvae.quantizers.FiniteScalarQuantizer","init_args":{"levels":[3,3]}}',
    "softmax": '{"class_path":"pyvae.quantizers.SoftmaxQuantizer","init_args":{"num_codes":6,"dim":3}}',
    "gradient": '{"class_path":"pyvae.guides.VectorQuantizer","init_args":{"num_codes":6,"dim":3,"cosine":true}}',
}


@pytest.mark.slow
@pytest.mark.parametrize("quantizer", QUANTIZERS.values(), ids=QUANTIZERS)
def test_other_quantizers_and_priors(quantizer, tmp_path):
    network = '--prior_network={"class_path":"pyvae.networks.CausalTransformer","init_args":{"dim":8,"heads":2}}'
    assert fitted("vqvae", tmp_path / "run", f"--quantizer={quantizer}", network) == 0
    assert main(["sample", str(tmp_path / "run"), "--count=2"]) == 0
    assert main(["reconstruct", str(tmp_path / "run"), "--count=2"]) == 0
    assert pyvae.load(tmp_path / "run" / "model.safetensors").encode(torch.rand(2, 1, 8, 8)).shape == (2, 4, 4)


def test_vectors_have_a_code_for_each_width(tmp_path):
    data = tmp_path / "points.npy"
    np.save(data, np.random.default_rng(0).normal(size=(60, 3)).astype("float32"))
    likelihood = ["--likelihood=Normal", "--preprocessing=standardization"]
    assert fitted("vqvae", tmp_path / "run", f"--data={data}", "--channels=[8,8]", *likelihood) == 0
    assert pyvae.load(tmp_path / "run" / "model.safetensors").encode(torch.randn(5, 3)).shape == (5, 2)
