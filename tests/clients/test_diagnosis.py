"""Every pair is diagnosed, or told in a sentence why not; on the command line too, and as a page."""

import html
import json
import re
import subprocess
import sys
from base64 import b64decode

import pyro
import pytest
import torch
from torch import nn

import pyvae
from pyvae import guides, priors, recipes
from pyvae.cli.main import main
from pyvae.diagnostics import sections
from tests.clients.browser import measured, needs_browser
from tests.clients.converted import SSVAE, DeepMarkovModel
from tests.clients.diffusions import vectors
from tests.clients.test_pyro_tutorial_vae import ConvolutionalDecoder, HandWritten, Subsampled, data_for

N = 40


def bits(*shape):
    return torch.rand(N, *shape).round()


def labels():
    return torch.arange(N) % 3


#: pairs, their data, and the sections that are left out with the reason
FAMILIES = {
    "gaussian": lambda: (recipes.gaussian((16,), 3, [8]), bits(16), {"codebooks": "no site of codes"}),
    "flow prior": lambda: (recipes.gaussian((16,), 3, [8], prior=priors.NeuralSplineFlow), bits(16), {}),
    "flow guide": lambda: (recipes.gaussian((16,), 3, [8], posterior=guides.InverseAutoregressiveFlow), bits(16), {}),
    "full rank": lambda: (recipes.gaussian((16,), 3, [8], posterior=guides.FullRankNormal), bits(16), {}),
    "sphere": lambda: (
        recipes.gaussian((16,), 3, [8], prior=priors.HypersphericalUniform, posterior=guides.PowerSpherical),
        bits(16),
        {"inference_gap": "cannot be shifted and rescaled"},
    ),
    "conditional": lambda: (recipes.conditional((16,), 3, 2, [8], learn_prior=True), (bits(16), labels()), {}),
    "convolutional": lambda: (recipes.convolutional((1, 8, 8), 3, channels=[4]), bits(1, 8, 8), {}),
    "hierarchical": lambda: (recipes.hierarchical((16,), latent_dims=[2, 3]), bits(16), {}),
    "ladder": lambda: (recipes.ladder((16,), latent_dims=[2, 3]), bits(16), {}),
    "diffusion": lambda: (vectors(), torch.randn(N, 3), {}),
    "incomplete": lambda: (recipes.incomplete((5,), 2, [8]), torch.randn(N, 5), {}),
    "vqvae": lambda: (
        recipes.vqvae((1, 8, 8), num_codes=8, channels=[4]),
        bits(1, 8, 8),
        {"inference_gap": "draws no continuous latent", "calibration": "draws no", "latents": "draws no"},
    ),
    "vqvae2": lambda: (recipes.vqvae2((1, 8, 8), num_codes=8, channels=[4, 4]), bits(1, 8, 8), {}),
    "semi-supervised": lambda: (
        recipes.semi_supervised((16,), 3, 2, [8]),
        (bits(16), torch.where(torch.arange(N) < 5, labels(), -1)),
        {"inference_gap": "continuous draws"},
    ),
    "by hand": lambda: (HandWritten(), data_for(HandWritten()), {}),
    "mini-batch of a plate": lambda: (Subsampled(), data_for(Subsampled()), {}),
    "one batch dimension": lambda: (ConvolutionalDecoder(), data_for(ConvolutionalDecoder()), {}),
    "Pyro's semi-supervised VAE": lambda: (SSVAE(pixels=16), bits(16), {"inference_gap": "continuous draws"}),
    "Pyro's semi-supervised VAE, labels given": lambda: (
        SSVAE(pixels=16),
        (bits(16), torch.nn.functional.one_hot(labels(), 3).float()),
        {"calibration": "expected one site"},
    ),
    "Pyro's deep Markov model": lambda: (
        DeepMarkovModel(x_dim=4),
        (bits(3, 4), torch.ones(N, 3).bool()),
        {"calibration": "expected one site", "predictive": "expected one site"},
    ),
}


SLOW = {
    "Pyro's semi-supervised VAE",
    "conditional",
    "convolutional",
    "diffusion",
    "flow guide",
    "flow prior",
    "full rank",
    "hierarchical",
    "ladder",
    "one batch dimension",
    "vqvae",
    "vqvae2",
}


@pytest.mark.parametrize("family", [pytest.param(f, marks=pytest.mark.slow) if f in SLOW else f for f in FAMILIES])
def test_every_pair_is_diagnosed(family):
    torch.manual_seed(0)
    pair, data, left_out = FAMILIES[family]()
    diagnosis = pyvae.diagnose(pair, data, num_particles=30)
    for name, reason in left_out.items():
        assert reason in diagnosis.sections[name].skipped
    for section in diagnosis.sections.values():
        assert bool(section.skipped) != bool(section.figures), section
        for picture in section.pictures:
            picture.draw().canvas.draw()
    frame = diagnosis.to_dataframe()
    assert frame["value"].notna().all()
    assert (frame["meaning"].str.len() > 10).all()
    assert all(diagnosis[name].value == value for (_, name), value in frame["value"].items())
    assert all(section.title in str(diagnosis) for section in diagnosis.sections.values())


def test_pairs_that_have_no_weights_are_refused():
    with pytest.raises(pyvae.PairError, match="weighted density"):
        pyvae.diagnose(pyvae.SingleStep(vectors()), torch.randn(N, 3))


@pytest.mark.parametrize(
    "arguments", [{"num_particles": 5}, {"num_particles": 2.5}, {"seed": -1}, {"max_memory": 0}, {"seed": "x"}]
)
def test_bad_arguments(arguments):
    with pytest.raises(pyvae.ArgumentError, match="expected"):
        pyvae.diagnose(HandWritten(), data_for(HandWritten()), **arguments)


def test_bad_data():
    with pytest.raises(pyvae.DataError):
        pyvae.diagnose(HandWritten(), torch.zeros(0, 64))
    with pytest.raises(pyvae.DataError):
        pyvae.diagnose(recipes.gaussian((5,), 2, [8]), torch.full((N, 5), 2.0))


def test_a_collapsed_posterior_is_told():
    pair = recipes.gaussian((16,), 3, [])
    with torch.no_grad():
        for parameter in pair.posterior.parameters():
            parameter.zero_()
    diagnosis = pyvae.diagnose(pair, bits(16), num_particles=30)
    assert diagnosis["active dimensions"].value == 0
    assert diagnosis["collapsed dimensions"].value == 3
    assert any("collapsed" in line for line in diagnosis.advice)


def test_levels_of_a_chain_whose_guide_runs_against_it():
    """As the terms of the ELBO, where p of a level is given what the guide has drawn after it."""
    torch.manual_seed(0)
    pair, x, _ = FAMILIES["hierarchical"]()
    x = x.repeat(25, 1)
    pyvae.fit(pair, x, epochs=5, seed=0, progress=False)
    terms = pyvae.elbo(pair, x, num_particles=50, seed=0).kl_terms
    section = sections.latents(sections.Subject(pair, x, 30, 0, 2**28))
    for figure in section.figures:
        if figure.name.startswith("KL of"):
            term = terms[figure.name.removeprefix("KL of ")]
            assert figure.value == pytest.approx(float(term.mean()), abs=0.02)
    assert not section.table.set_index("site").loc["z_2", "judged"].any()


class Scalars(nn.Module):
    """Counts and latents without event dimensions, as in many of Pyro's tutorials."""

    def __init__(self):
        super().__init__()
        self.loc = nn.Linear(1, 1)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", pyro.distributions.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", pyro.distributions.Poisson((z / 2).exp()), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", pyro.distributions.Normal(self.loc(x.float()[:, None])[:, 0], 0.9))


def test_scalar_latents_and_integer_data():
    diagnosis = pyvae.diagnose(Scalars(), torch.randint(0, 4, (N,)), num_particles=30)
    assert [name for name, section in diagnosis.sections.items() if section.skipped] == ["codebooks"]


def test_gaps_in_data_are_no_misfit():
    torch.manual_seed(0)
    pair = recipes.incomplete((5,), 2, [8])
    x = pair.model(size=300).detach()
    x[torch.rand_like(x) < 0.3] = torch.nan
    section = sections.predictive(sections.Subject(pair, x, 30, 0, 2**28))
    assert section.table["data"].notna().all()
    assert not section.figures[0].advice  # data of the model itself


def test_labels_are_no_codes():
    pair, data, _ = FAMILIES["semi-supervised"]()
    diagnosis = pyvae.diagnose(pair, (data[0][data[1] < 0], data[1][data[1] < 0]), num_particles=30)
    assert "codes of y in use" in str(diagnosis)
    assert not any("codebook" in line for line in diagnosis.advice)


def test_few_data():
    diagnosis = pyvae.diagnose(HandWritten(), data_for(HandWritten())[:1], num_particles=30)
    assert "expected at least 20" in diagnosis.sections["latents"].skipped
    assert "expected at least 20" in diagnosis.sections["aggregated_posterior"].skipped


def test_a_question_that_fails_does_not_take_the_others_with_it():
    def broken(subject):
        raise RuntimeError("no")

    diagnosis = pyvae.diagnose(HandWritten(), data_for(HandWritten()), 30, sections=[broken, sections.latents])
    assert diagnosis.sections["broken"].skipped == "it failed: no"
    assert diagnosis.sections["latents"].figures


def finding(advice="", threshold="at most 1"):
    return sections.Finding("a figure", 1.0, "means something", threshold=threshold, advice=advice)


@pytest.mark.parametrize(
    ("found", "light", "said"),
    [
        ({"bounds": finding(), "latents": finding(), "predictive": finding()}, "green",
         ["green", "Posterior: the guide's importance weights can be relied on.", "green", "green"]),
        ({"bounds": finding("do"), "inference_gap": finding(), "predictive": finding()}, "red",
         ["red", "Posterior: the guide's importance weights cannot be relied on (a figure); the guide costs little of "
          "log p(x).", "grey", "green"]),
        ({"inference_gap": finding("do"), "aggregated_posterior": finding()}, "amber",
         ["amber", "Posterior: the guide costs much of log p(x) (a figure).", "green", "grey"]),
        ({"codebooks": finding("do")}, "amber", ["grey", "Posterior: nothing could be judged.", "amber", "grey"]),
        ({"of_my_own": finding("do"), "bounds": finding()}, "amber",
         ["green", "Posterior: the guide's importance weights can be relied on.", "grey", "grey"]),
        ({"bounds": finding(threshold="")}, "grey", ["grey", "Posterior: nothing could be judged.", "grey", "grey"]),
    ],
)  # fmt: skip
def test_a_diagnosis_opens_with_a_light_and_three_sentences(found, light, said):
    asked = {name: sections.Section(name, (figure,)) for name, figure in found.items()}
    diagnosis = pyvae.diagnostics.Diagnosis(asked, {"pair": "VAE", "data": 3, "draws": 30})
    first, *others = diagnosis.summary
    assert diagnosis.light == light
    assert [first.light, first.text, *(answer.light for answer in others)] == said
    assert str(diagnosis).startswith(f"{light}:")
    page = html.unescape(diagnosis.to_html())
    assert re.search(f'<div class="light {light}".*<li class="{first.light}">{re.escape(first.text)}', page, re.DOTALL)
    assert page.index(first.text) < page.index("means something")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "gaussian"
    options = ["--epochs=2", "--hidden=[16]", "--latent-dim=3", "--evaluation-particles=5", "--no-progress"]
    assert main(["fit", "gaussian", *options, f"--run-dir={directory}"]) == 0
    return directory


def test_the_command_line_leaves_a_page(run, capsys, tmp_path):
    assert main(["diagnose", str(run), "--num-particles=30", "--count=60"]) == 0
    told = capsys.readouterr().out
    assert "active dimensions" in told
    assert told.strip().endswith("diagnosis-1.html")
    assert main(["diagnose", str(run), "--num-particles=30", "--count=60", f"--output={tmp_path / 'd.json'}"]) == 0
    records = json.loads((tmp_path / "d.json").read_text())
    assert {r["section"] for r in records} >= {"bounds", "latents"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--count=0"], "count is 0; expected 1 to 360"),
        (["--num-particles=3"], "num_particles is 3"),
        (["--output=x.pdf"], "cannot write"),
        (["--seed=-1"], "seed is -1"),
    ],
)
def test_mistakes(run, capsys, options, said):
    assert main(["diagnose", str(run), *options]) == 2
    assert said in capsys.readouterr().err


def page():
    pair, data, _ = FAMILIES["gaussian"]()
    return pyvae.diagnose(pair, data, num_particles=30).to_html()


def test_the_page_needs_nothing_else():
    text = page()
    assert not re.search(r"https?://|<script|<link|url\(", text)
    images = re.findall(r'src="([^"]*)"', text)
    assert len(images) >= 7
    for image in images:
        kind, content = image.split(",", 1)
        assert kind == "data:image/png;base64"
        assert b64decode(content).startswith(b"\x89PNG")


@pytest.mark.slow
@needs_browser
def test_the_page_in_a_browser(tmp_path):
    """At the widths of a telephone and of a desk nothing sticks out, and every picture is there."""
    found = measured([page()], tmp_path, "({size: parseFloat(w.getComputedStyle(d.querySelector('small')).fontSize)})")
    assert [f["width"] for f in found] == [390, 1280]
    for frame in found:
        assert frame["needed"] <= frame["width"]
        assert len(frame["images"]) >= 7
        assert all(frame["images"])
        assert frame["asked"]["size"] >= 12


def test_output_may_be_cut_short(run):
    """As by ``pyvae evaluate RUN | head -1``."""
    command = [sys.executable, "-m", "pyvae", "evaluate", str(run), "--num-particles=2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    assert process.wait() == 1


@pytest.mark.parametrize("asked", [[], ["bounds"], "bounds"])
def test_sections_are_functions(asked):
    with pytest.raises(pyvae.ArgumentError, match="expected functions with names"):
        pyvae.diagnose(recipes.gaussian((16,), 3, [8]), bits(16), sections=asked)
