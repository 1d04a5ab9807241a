"""The report of a run, as the person reads it who opens it."""

import csv
import io
import json
import math
import re
import shutil
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image

from pyvae.cli.data import load_data
from pyvae.cli.main import main
from pyvae.cli.runs import open_run
from tests.clients.browser import measured, needs_browser
from tests.clients.reports import ALWAYS, OPTIONS, SECTIONS, page_of, read_of


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs that are made when they are first wanted."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def run(recipe):
        if recipe not in made:
            made[recipe] = folder / recipe
            quick = ["--epochs=2", "--evaluation-particles=2", "--no-progress", f"--run-dir={made[recipe]}"]
            assert main(["fit", recipe, *quick, *OPTIONS[recipe]]) == 0
        return made[recipe]

    return run


@pytest.mark.parametrize("recipe", OPTIONS)
def test_a_report_has_what_applies_and_nothing_else(recipe, runs):
    page = page_of(runs(recipe))
    assert set(re.findall("<h2>(.*?)</h2>", page)) == ALWAYS | SECTIONS[recipe]
    assert not re.search(r"https?://|<link|url\(|(src|href)=\"(?!data:)", page)
    assert "left out" not in page


@pytest.mark.parametrize("recipe", OPTIONS)
def test_a_report_has_no_paths_no_dictionaries_and_no_minus_zero(recipe, runs):
    page = page_of(runs(recipe))
    assert str(runs(recipe).parent) not in page
    assert not re.search(r"\bclass_path|init_args|\{'|>(/|[A-Z]:)\w|data root|download|[-−]0\.0+\b", page)
    assert "Adam (lr = 0.001" in page


def test_a_curve_is_read_at_a_point(runs):
    charts = read_of(page_of(runs("gaussian")), "chart")
    rows = list(csv.DictReader((runs("gaussian") / "metrics.csv").open()))
    assert [chart["at"] for chart in charts] == [["1", "2"]] * 3
    for chart, term in zip(charts, ("elbo", "reconstruction", "kl"), strict=True):
        for name, split in (("training", "train"), ("validation", "validation")):
            read = [float(value.replace("−", "-")) for value in chart["curves"][name]]
            assert read == pytest.approx([float(row[f"{split}_{term}"]) for row in rows], rel=1e-3)


def test_the_map_shows_the_datapoint_that_it_points_at(runs):
    page, run = page_of(runs("gaussian")), open_run(runs("gaussian"))
    (read,) = read_of(page, "map")
    test = load_data(**run.data).test
    assert read["classes"] == [str(c) for c in test.tensors[1].tolist()]
    assert len(read["at"]) == read["count"] == len(test)
    (content,) = re.findall('class="sheet" alt="" src="data:image/png;base64,([^"]*)"', page)
    sheet = np.asarray(Image.open(io.BytesIO(b64decode(content))))
    ink = np.stack([
        sheet[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        for row, column in (divmod(i, read["columns"]) for i in range(2 * len(test)))
    ])  # fmt: skip
    binarized, means = ink[: len(test)] / 255, ink[len(test) :] / 255
    assert set(np.unique(binarized)) == {0, 1}
    assert 0 < means.mean() < 1
    grey = test.tensors[0][:, 0].float() / test.tensors[0].max()
    assert not binarized[grey == 0].any()  # what is black is never drawn white, datapoint by datapoint
    assert binarized[grey == 1].all()


def test_the_terms_of_a_diffusion_sum_to_its_elbo_in_bits(runs):
    run = runs("diffusion")
    page, figures = page_of(run), json.loads((run / "evaluation.json").read_text())
    (terms,) = [chart for chart in read_of(page, "chart") if chart["axis"] == "t"]
    assert terms["at"] == [str(t) for t in range(1, 13)]
    bits = sum(float(value.replace("−", "-")) for value in terms["curves"]["test data"])
    nats = -figures["elbo"] - figures["kl_x_12"]
    assert bits == pytest.approx(nats / math.log(2) / 64, rel=1e-2)
    assert "Reconstruction" not in page
    assert "latents" not in page


def test_imputations_are_compared_with_the_truth_and_the_means(runs):
    (errors,) = re.findall(r"squared error: ([\d.]+); .* place, ([\d.]+)\.", page_of(runs("incomplete")))
    assert (runs("incomplete") / "imputations.png").exists()
    x = load_data(**open_run(runs("incomplete")).data)
    spread = (x.test.fixed()[:100][0] - x.train.fixed()[:][0].nanmean(0)).square().nanmean().sqrt()
    assert float(errors[1]) == pytest.approx(float(spread), rel=0.05)
    assert float(errors[0]) > 0


def test_what_a_resumption_has_changed_is_among_the_settings(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs("gaussian"), run)
    assert main(["fit", "--resume", str(run), "--epochs=3", "--no-progress"]) == 0
    assert "after epoch 2</td><td>epochs 2 → 3" in page_of(run)


POINTED = """(() => {
  const found = {};
  for (const part of d.querySelectorAll(".map, .chart")) {
    const svg = part.querySelector("svg"), box = svg.getBoundingClientRect(), out = part.querySelector("output");
    const before = out.textContent;
    const place = {clientX: box.left + box.width / 6, clientY: box.top + box.height / 6};
    svg.dispatchEvent(new w.PointerEvent("pointermove", place));
    found[part.className] = [before, out.textContent];
  }
  const canvas = d.querySelector("canvas");
  found.seen = canvas ? [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data] : [];
  found.small = Math.min(...[...d.querySelectorAll("small, output, td")].map(
    e => parseFloat(w.getComputedStyle(e).fontSize)));
  return found;
})()"""


@pytest.mark.slow
@needs_browser
def test_the_reports_in_a_browser(runs, tmp_path):
    """At the widths of a telephone and of a desk nothing sticks out, and charts and maps answer to the pointer."""
    for recipe in OPTIONS:
        (tmp_path / recipe).mkdir()
        found = measured([(runs(recipe) / "report.html").read_text()], tmp_path / recipe, POINTED)
        assert [f["width"] for f in found] == [390, 1280]
        for frame in found:
            asked = frame["asked"]
            assert frame["needed"] <= frame["width"]
            assert all(frame["images"])
            assert asked["small"] >= 12
            before, after = asked["chart"]
            assert before.startswith("epoch 2: ")
            assert after.startswith("epoch 1: ")
            if "map" in asked:
                before, after = asked["map"]
                assert re.fullmatch(r"datapoint \d+, class \d", after)
                assert before != after
                assert torch.tensor(asked["seen"]).unique().numel() > 1
