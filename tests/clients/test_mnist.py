"""The published example on real data, from the command line. The data's place is the variable PYVAE_DATA_ROOT."""

import json

import numpy as np
from sklearn.neural_network import MLPClassifier

from pyvae import datasets
from pyvae.cli.main import main
from tests.clients.real_data import ROOT, on_mnist

pytestmark = on_mnist


def test_burda_in_twenty_epochs(tmp_path):
    run = tmp_path / "burda"
    assert main(["fit", "burda", "--data-root", ROOT, "--run-dir", str(run), "--evaluation-particles", "100"]) == 0
    figures = json.loads((run / "evaluation.json").read_text())
    print(figures)
    assert figures["num_data"] == 10_000
    assert -figures["elbo"] <= 101
    assert -figures["log_likelihood"] <= 96


def test_conditional_samples_are_recognized(tmp_path):
    run = tmp_path / "conditional"
    options = ["--data", "mnist", "--data-root", ROOT, "--epochs", "10", "--run-dir", str(run)]
    assert main(["fit", "conditional", *options]) == 0
    output = tmp_path / "samples.npy"
    assert main(["sample", str(run), "--count", "1000", "--output", str(output)]) == 0
    data = datasets.mnist(ROOT)
    x, y = data.train[np.arange(20_000)]
    classifier = MLPClassifier(128, max_iter=10, random_state=0).fit(x.flatten(1), y)
    x, y = data.test[np.arange(2_000)]
    assert classifier.score(x.flatten(1), y) > 0.94
    recognized = classifier.score(np.load(output).reshape(1000, -1), np.arange(10).repeat(100))
    print(f"recognized: {recognized:.3f}")
    assert recognized >= 0.85
