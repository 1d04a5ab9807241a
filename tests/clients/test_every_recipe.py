"""Recipes with their defaults, on their default data and on other kinds of data that they take, give good pairs."""

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.distributions import Bernoulli, NegativeBinomial, Normal
from torch.nn.functional import one_hot

import pyvae
from pyvae import datasets, recipes
from pyvae.cli.main import main
from pyvae.cli.runs import open_run
from pyvae.datasets import Kind, values_of

from .real_data import ROOT

pytestmark = pytest.mark.slow


def correlated(rows=1000, columns=8):
    """Real numbers that two factors explain, in units of their own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, columns)) + 0.3 * rng.normal(size=(rows, columns))
    return x * rng.uniform(1, 50, columns) + 100


def coloured(rows=1000):
    """Images of 3 × 8 × 8: a square of some colour somewhere on a ground of another."""
    rng = np.random.default_rng(0)
    x = np.empty((rows, 3, 8, 8), np.uint8)
    for image, (top, left), (ground, square) in zip(
        x, rng.integers(0, 5, (rows, 2)), rng.integers(20, 235, (rows, 2, 3, 1, 1)), strict=True
    ):
        image[:] = ground
        image[:, top : top + 4, left : left + 4] = square
    return np.clip(x + rng.integers(-8, 9, x.shape), 0, 255).astype(np.uint8)


def binary(rows=1000):
    """Zeros and ones of three patterns, with one in twenty turned over."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 2, (3, 20))
    return (patterns[rng.integers(0, 3, rows)] ^ (rng.random((rows, 20)) < 0.05)).astype(np.float32)


def labelled_binary():
    return binary(), np.arange(1000) % 3


def totals(rows=1000, columns=60):
    """Counts of hundreds to thousands in a row."""
    rng = np.random.default_rng(0)
    shares = np.exp(rng.normal(size=(rows, 2)) @ rng.normal(size=(2, columns)))
    rates = rng.lognormal(7, 0.4, (rows, 1)) * shares / shares.sum(1, keepdims=True)
    return rng.poisson(rates)


def gaps(rows=1000):
    x = correlated(rows)
    return np.where(np.random.default_rng(1).random(x.shape) < 0.3, np.nan, x)


FILES = {
    "reals": lambda: {"x": correlated()},
    "colours": lambda: {"x": coloured()},
    "binary": lambda: {"x": binary(), "y": np.arange(1000) % 2},
    "counts": lambda: {"x": totals()},
    "gaps": lambda: {"x": gaps()},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, make in FILES.items():
        np.savez(folder / f"{name}.npz", **make())
    return folder


def independent(data):
    """Nats per test datapoint of a model whose elements are independent: what a pair must beat."""
    train, test = data.train[:][0], data.test.fixed()[:][0]
    kind = values_of(data).kind
    if kind is Kind.BINARY:
        log_prob = Bernoulli(train.mean(0).clamp(0.001, 0.999)).log_prob(test)
    elif kind is Kind.COUNTS:  # of which it knows the totals
        total = train.sum(-1, keepdim=True)
        share = (train / total).mean(0)
        mean = total * share
        theta = (mean.square().sum(0) / ((train - mean).square() - mean).sum(0)).clamp(0.01, 1e4)
        here = test.sum(-1, keepdim=True) * share
        log_prob = NegativeBinomial(theta, logits=(here / theta).log()).log_prob(test)
    elif kind is Kind.LEVELS:
        levels = values_of(data).levels
        seen, new = (((levels - 1) * x).round().long() for x in (train, test))
        share = one_hot(seen, levels).double().add(0.1).mean(0)
        share = (share / share.sum(-1, keepdim=True)).expand(*new.shape, levels)
        log_prob = share.gather(-1, new[..., None])[..., 0].log()
    else:
        mean = train.nanmean(0)
        log_prob = Normal(mean, (train - mean).square().nanmean(0).sqrt().clamp(min=1e-3)).log_prob(test)
    return float(log_prob.nan_to_num().flatten(1).sum(1).mean())


def figures(run):
    return json.loads((run.directory / "evaluation.json").read_text())


def beats_independence(run):
    """By what is far beyond the error of the estimate."""
    elbo, baseline = figures(run)["elbo"], independent(run.load_data())
    print(f"{run.recipe}: ELBO {elbo:.2f}, KL {figures(run)['kl']:.2f}, independent elements {baseline:.2f}")
    assert elbo > baseline + 1


def uses_latents(run):
    assert figures(run)["kl"] > 1
    beats_independence(run)


def is_recognized(run):
    """Of what it draws of each class, a classifier of the data knows most."""
    uses_latents(run)
    data = datasets.digits()
    classifier = LogisticRegression(max_iter=500).fit(data.train[:][0].flatten(1), data.train[:][1])
    assert main(["sample", str(run.directory), "--count=200", f"--output={run.directory / 'drawn.npy'}"]) == 0
    drawn = np.load(run.directory / "drawn.npy").reshape(200, -1)
    assert (classifier.predict(drawn) == np.arange(200) * 10 // 200).mean() > 0.7


def imputes(run):
    """Gaps that were made are filled better than by the means of the columns."""
    assert figures(run)["kl"] > 1
    data, pair = run.load_data(), run.load_pair()
    x = data.test.fixed()[:][0]
    if run.data["data"] == "digits_with_gaps":
        whole = datasets.digits().test[:][0]
        filled = 17 / 16 * pyvae.impute(pair, x, num_particles=100, seed=0) - 1 / 32  # before the dequantization
        mean = datasets.digits_with_gaps().train[:][0].nanmean(0)
    else:
        whole = torch.from_numpy(correlated()).float()[9::10]
        filled = run.original_units(pyvae.impute(pair, x, num_particles=100, seed=0))
        mean = run.original_units(data.train[:][0].nanmean(0, keepdim=True))
    missing, scale = x.isnan(), whole.std() if whole.dim() > 2 else whole.std(0)

    def error(guess):
        return float(((guess - whole) / scale)[missing].square().mean())

    assert error(filled) < 0.6 * error(mean.expand_as(whole))


def denoises(run):
    """Expected shares are nearer to the truth than the counts, and than the mean of all cells."""
    uses_latents(run)
    data, (_, truth) = datasets.cells(), datasets.expression_of_cells()
    x, y = data.test[:]

    def error(shares):
        return float((shares.clamp(min=1e-5).log() - truth.log()).square().mean().sqrt())

    mean = data.train[:][0].sum(0) / data.train[:][0].sum()
    assert error(run.load_pair().expression(x, y)) < 0.3 * min(error(mean), error(x / x.sum(-1, keepdim=True)))


def infers_labels(run):
    """Better than a classifier that knows the same labels, but not the data without one."""
    uses_latents(run)
    data = run.load_data()
    x, y = data.train[:]
    known = y >= 0
    assert known.sum() == 100
    classifier = LogisticRegression(max_iter=500).fit(x[known].flatten(1), y[known])
    x_test, y_test = data.test.fixed()[:]
    assert figures(run)["accuracy"] > classifier.score(x_test.flatten(1), y_test)


#: recipe, data (None: its own), epochs that suffice, and a measure by which the pair is good
ROWS = [
    ("gaussian", None, 40, uses_latents),
    ("gaussian", "reals", 60, uses_latents),
    ("gaussian", "colours", 60, uses_latents),
    ("gaussian", "binary", 40, beats_independence),
    ("gaussian", "counts", 60, uses_latents),
    ("convolutional", None, 20, uses_latents),
    ("convolutional", "colours", 20, uses_latents),
    ("conditional", None, 80, is_recognized),
    ("conditional", "binary", 40, beats_independence),
    ("burda", "digits", 20, uses_latents),
    ("hierarchical", None, 40, uses_latents),
    ("hierarchical", "reals", 60, uses_latents),
    ("ladder", None, 50, uses_latents),
    ("ladder", "reals", 60, uses_latents),
    ("semi_supervised", None, 80, infers_labels),
    ("incomplete", None, 60, imputes),
    ("incomplete", "gaps", 60, imputes),
    ("vqvae", None, 50, uses_latents),
    ("diffusion", None, 150, uses_latents),
    ("counts", None, 20, denoises),
    ("counts", "counts", 60, uses_latents),
]
#: not here: to be good, they train for many minutes; some are in the tests on MNIST and on speech
ELSEWHERE = {"conditional_vqvae", "speech", "vqvae2"}


def test_no_recipe_is_left_out():
    assert {recipe for recipe, *_ in ROWS} | ELSEWHERE == set(recipes.__all__)


@pytest.mark.parametrize(("recipe", "data", "epochs", "measure"), ROWS)
def test_a_recipe_with_its_defaults_gives_a_good_pair(recipe, data, epochs, measure, files, tmp_path):
    words = ["fit", recipe, f"--epochs={epochs}", f"--run-dir={tmp_path / 'run'}", "--no-progress"]
    if data is not None:
        words += [f"--data={files / data}.npz" if data in FILES else f"--data={data}"]
    assert main([*words, "--evaluation-particles=5", f"--data-root={ROOT}"]) == 0
    measure(open_run(tmp_path / "run"))
