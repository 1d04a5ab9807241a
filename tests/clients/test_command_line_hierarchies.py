"""Hierarchies and diffusions on the command line."""

import csv
import json

import numpy as np
import pytest

import pyvae
from pyvae.cli.main import main

OPTIONS = {
    "hierarchical": ["--latent-dims=[2,3]", "--hidden=[16]"],
    "ladder": ["--latent-dims=[2,3]", "--hidden=[16]"],
    "diffusion": ["--steps=4", "--channels=[4]"],
}


def fitted(recipe, directory, *more):
    quick = ["--epochs=2", "--evaluation-particles=2", "--no-progress", f"--run-dir={directory}"]
    return main(["fit", recipe, *quick, *OPTIONS[recipe], *more])


@pytest.fixture(scope="module", params=OPTIONS)
def run(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / request.param
    assert fitted(request.param, directory) == 0
    return directory


def test_a_run_tells_the_term_of_every_latent(run):
    figures = json.loads((run / "evaluation.json").read_text())
    terms = [value for name, value in figures.items() if name.startswith("kl_")]
    assert len(terms) == (4 if run.name == "diffusion" else 2)
    assert sum(terms) == pytest.approx(figures["kl"], rel=1e-4)
    assert (run / "terms.png").exists()
    title = "Terms of the ELBO by t" if run.name == "diffusion" else "KL of each latent"
    assert f"<h2>{title}</h2>" in (run / "report.html").read_text()
    with (run / "metrics.csv").open() as file:
        (*_, row) = csv.DictReader(file)
    names = ["x_previous"] if run.name == "diffusion" else ["z_1", "z_2"]
    assert {f"{part}_kl_{name}" for part in ("train", "validation") for name in names} <= row.keys()


def test_a_run_is_gone_on_with(run, tmp_path):
    output = tmp_path / "x.npy"
    assert main(["sample", str(run), "--count", "5", "--output", str(output)]) == 0
    assert np.load(output).shape == (5, 1, 8, 8)
    assert main(["reconstruct", str(run), "--count", "3"]) == 0
    assert main(["evaluate", str(run), "--num-particles", "2"]) == 0
    assert pyvae.load(run / "model.safetensors").model(size=2).shape == (2, 1, 8, 8)
    assert fitted(run.name, run, "--epochs=3", "--resume") == 0


def test_other_diffusions(tmp_path):
    grey = [
        "--preprocessing=no_preprocessing",
        "--levels=17",
        "--weighting=simple",
        "--noise=pyvae.networks.CosineNoise",
    ]
    assert fitted("diffusion", tmp_path / "grey", *grey, "--prediction=noise", "--variance=learned") == 0
    data = tmp_path / "points.npy"
    np.save(data, np.random.default_rng(0).normal(size=(60, 3)).astype("float32"))
    points = [f"--data={data}", "--preprocessing=standardization", "--levels=null"]
    assert fitted("diffusion", tmp_path / "points", *points) == 0


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("ladder", ["--latent-dims=[]"], "latent_dims is empty"),
        ("diffusion", ["--weighting=simple"], "simple weighting"),
        ("diffusion", ["--levels=1"], "levels is 1"),
        ("hierarchical", ["--latent-dims=[2,-1]"], "latent_dims"),
    ],
)
def test_mistakes(recipe, options, message, tmp_path, capsys):
    assert fitted(recipe, tmp_path / "run", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
