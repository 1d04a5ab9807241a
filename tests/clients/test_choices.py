"""Preprocessing and likelihood follow from what the data are, unless they are asked for."""

import json

import numpy as np
import pytest
import torch

from pyvae import recipes
from pyvae.cli.choices import chosen_by_data
from pyvae.cli.main import main, recipe_parser
from pyvae.cli.words import underscored
from pyvae.datasets import digits, digits_with_gaps
from pyvae.recipes.loading import build

RNG = np.random.default_rng(0)
ARRAYS = {
    "grey": RNG.integers(0, 256, (40, 1, 4, 4)).astype(np.uint8),
    "colours": RNG.integers(0, 256, (40, 3, 4, 4)).astype(np.uint8),
    "binary": RNG.integers(0, 2, (40, 6)).astype(np.float32),
    "counts": RNG.poisson(20.0, (40, 6)),
    "reals": RNG.normal(size=(40, 6)) * 7,
    "fractions": RNG.random((40, 6)),
}


def chosen(path, recipe, *options):
    words = [f"--data={path}", *underscored(list(options))]
    parser = recipe_parser(recipe, getattr(recipes, recipe))
    plain = json.loads(parser.dump(parser.parse_args(words), format="json", skip_unset=False))
    return chosen_by_data(recipe, getattr(recipes, recipe), plain)


@pytest.fixture
def files(tmp_path):
    for name, array in ARRAYS.items():
        np.save(tmp_path / f"{name}.npy", array)
    return tmp_path


BERNOULLI, NORMAL = ["--likelihood", "Bernoulli"], ["--likelihood", "Normal"]
CHOICES = {
    "grey": ("grey", "gaussian", [], "dynamic_binarization", "Bernoulli"),
    "grey, asked for a Normal": ("grey", "gaussian", NORMAL, "dequantization", "Normal"),
    "grey, as they are": (
        "grey",
        "gaussian",
        ["--preprocessing", "no_preprocessing"],
        "no_preprocessing",
        "DiscretizedLogisticMixture",
    ),
    "grey, asked for categories": (
        "grey",
        "gaussian",
        ["--likelihood", "Categorical"],
        "no_preprocessing",
        "Categorical",
    ),
    "grey, continuous": (
        "grey",
        "gaussian",
        ["--likelihood", "ContinuousBernoulli"],
        "no_preprocessing",
        "ContinuousBernoulli",
    ),
    "colours": ("colours", "gaussian", [], "dequantization", "Normal"),
    "colours as codes": ("colours", "vqvae", [], "no_preprocessing", "DiscretizedLogisticMixture"),
    "colours as codes, asked for a Normal": ("colours", "vqvae", NORMAL, "dequantization", "Normal"),
    "grey as codes": ("grey", "vqvae", [], "no_preprocessing", "DiscretizedLogisticMixture"),
    "grey as codes, asked for a Bernoulli": ("grey", "vqvae", BERNOULLI, "dynamic_binarization", "Bernoulli"),
    "binary as codes": ("binary", "vqvae", [], "no_preprocessing", "Bernoulli"),
    "reals as codes": ("reals", "vqvae", [], "standardization", "Normal"),
    "colours that shall be binarized": (
        "colours",
        "vqvae",
        ["--preprocessing", "dynamic_binarization"],
        "dynamic_binarization",
        "Bernoulli",
    ),
    "colours, diffused": ("colours", "diffusion", [], "no_preprocessing", None),
    "binary": ("binary", "gaussian", [], "no_preprocessing", "Bernoulli"),
    "reals": ("reals", "gaussian", [], "standardization", "Normal"),
    "reals, asked for heavy tails": ("reals", "gaussian", ["--likelihood", "StudentT"], "standardization", "StudentT"),
    "fractions": ("fractions", "gaussian", [], "standardization", "Normal"),
    "fractions, asked for a Bernoulli": ("fractions", "gaussian", BERNOULLI, "dynamic_binarization", "Bernoulli"),
    "counts": ("counts", "gaussian", [], "no_preprocessing", "NegativeBinomial"),
    "counts, asked for a Poisson": ("counts", "gaussian", ["--likelihood", "Poisson"], "no_preprocessing", "Poisson"),
    "counts, asked for a Normal": ("counts", "gaussian", NORMAL, "standardization", "Normal"),
    "counts of a recipe that knows none": ("counts", "hierarchical", [], "standardization", "Normal"),
    "counts of their recipe": ("counts", "counts", [], "no_preprocessing", "NegativeBinomial"),
    "zeros and ones as counts": ("binary", "counts", [], "no_preprocessing", "NegativeBinomial"),
    "reals, diffused": ("reals", "diffusion", [], "standardization", None),
}


@pytest.mark.parametrize(("name", "recipe", "options", "preprocessing", "likelihood"), CHOICES.values(), ids=CHOICES)
def test_choices(name, recipe, options, preprocessing, likelihood, files):
    made = chosen(files / f"{name}.npy", recipe, *options)
    assert made.given["preprocessing"] == preprocessing
    assert made.arguments.get("likelihood", {}).get("class_path", "None").split(".")[-1] == str(likelihood)
    build(recipe, made.arguments)


def test_what_is_chosen_is_said_and_what_is_asked_for_is_not(files):
    both = chosen(files / "colours.npy", "gaussian").note
    assert both == (
        "preprocessing: dequantization, likelihood: Normal, since the data are images with 3 channels of 256 levels; "
        "change with --preprocessing and --likelihood"
    )
    assert "--likelihood" not in chosen(files / "colours.npy", "gaussian", *NORMAL).note
    assert chosen(files / "reals.npy", "gaussian", *NORMAL, "--preprocessing", "standardization").note == ""


def test_a_learned_scale_starts_at_that_of_the_data_unless_one_is_given(files):
    def scale(*options):
        return chosen(files / "grey.npy", "gaussian", *NORMAL, *options).arguments["likelihood"]["init_args"]["scale"]

    expected = (ARRAYS["grey"] / 256).std(0).mean()
    assert scale() == pytest.approx(expected, rel=0.1)
    assert scale("--likelihood.scale", "0.7") == 0.7
    assert scale("--likelihood.learn-scale", "false") == 1.0


def test_levels_are_those_of_the_data(tmp_path):
    options = ["--preprocessing", "no_preprocessing"]
    assert chosen("digits", "diffusion").arguments["levels"] == 17
    assert chosen("digits", "diffusion", "--preprocessing", "static_binarization").arguments["levels"] == 2
    assert chosen("digits", "gaussian", *options).arguments["likelihood"]["init_args"]["levels"] == 17


def test_what_goes_with_counts_is_that_of_the_data(files):
    arguments = chosen(files / "counts.npy", "counts").arguments
    assert arguments["library_size"] == pytest.approx(ARRAYS["counts"].sum(1).mean(), rel=0.05)
    assert arguments["num_classes"] is None
    assert chosen("cells", "counts").arguments["num_classes"] == 2
    assert chosen(files / "counts.npy", "gaussian").arguments["log_input"] is True
    assert chosen(files / "counts.npy", "gaussian", "--log-input", "false").arguments["log_input"] is False
    assert chosen(files / "reals.npy", "gaussian").arguments["log_input"] is False


def test_the_digits_with_gaps_are_the_digits_with_gaps():
    for gappy, whole in zip(
        (digits_with_gaps().train, digits_with_gaps().test), (digits().train, digits().test), strict=True
    ):
        (x, y), (truth, labels) = gappy.tensors, whole.tensors
        assert torch.equal(y, labels)
        assert torch.equal(torch.where(x.isnan(), truth, x), truth)
        assert 0.49 < x.isnan().float().mean() < 0.51


def test_a_run_records_what_was_chosen(files, capsys):
    words = [
        "fit",
        "gaussian",
        f"--data={files / 'reals.npy'}",
        "--epochs=1",
        "--evaluation-particles=2",
        "--no-progress",
    ]
    words += ["--hidden=4", f"--run-dir={files / 'run'}"]
    assert main(words) == 0
    assert "since the data are real numbers" in capsys.readouterr().err
    record = json.loads((files / "run" / "run.json").read_text())
    assert record["data"]["preprocessing"] == "standardization"
    assert record["arguments"]["likelihood"]["init_args"]["learn_scale"] is True
    assert main([*words[:3], "--epochs=2", *words[4:], "--resume"]) == 0
    assert main(["evaluate", str(files / "run"), "--num-particles=2"]) == 0
