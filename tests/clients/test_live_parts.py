"""Parts of a page that answer to the pointer, of data of any size."""

import io
import json
import math
import re
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image

from pyvae.pages.charts import Chart
from pyvae.pages.live import live_charts, live_map


def shown(pictures, classes=()):
    count = len(next(iter(pictures.values())))
    page = live_map(np.random.default_rng(0).normal(size=(count, 2)), ("a", "b"), classes, ["cat", "ship"], pictures)
    (read,) = re.findall("data-read='(.*?)'", page)
    (content,) = re.findall('base64,([^"]*)"', page)
    return json.loads(read), np.asarray(Image.open(io.BytesIO(b64decode(content)))), page


@pytest.mark.parametrize(
    ("shape", "tile"),
    [((1, 8, 8), (8, 8)), ((3, 8, 6), (8, 6)), ((5,), (1, 5)), ((2, 3, 4), (1, 24)), ((2, 5), (1, 10))],
)
def test_a_tile_for_each_datapoint_and_picture(shape, tile):
    x = torch.rand(7, *shape)
    read, sheet, _ = shown({"datapoint": x, "reconstruction": 1 - x})
    assert (read["height"], read["width"]) == tile
    assert read["count"] == len(read["at"]) == 7
    rows = math.ceil(14 / read["columns"])
    assert sheet.shape[:2] == (rows * tile[0], read["columns"] * tile[1])


@pytest.mark.parametrize("shape", [(3, 256, 256), (40_000,), (1, 60_000)])
def test_large_data_make_no_large_page(shape):
    _, sheet, page = shown({"datapoint": torch.rand(50, *shape)})
    assert sheet.shape[0] * sheet.shape[1] < 1.2e6
    assert len(page) < 5e6


def test_what_is_missing_is_white_and_infinity_too():
    x = torch.tensor([[[[0.0, math.nan], [math.inf, 1.0]]]])
    _, sheet, _ = shown({"datapoint": x})
    assert sheet.tolist() == [[0, 255], [255, 255]]


def test_names_of_classes_cannot_break_the_page():
    page = live_map(np.zeros((2, 2)), ("a", "b"), [0, -1], ["<b>'\""], {"datapoint": torch.zeros(2, 1, 4, 4)})
    assert "<b>'" not in page
    assert "no label" in page
    (read,) = re.findall("data-read='(.*?)'", page)
    assert json.loads(read)["classes"] == ["<b>'\"", ""]


def test_a_chart_leaves_out_what_is_not_finite():
    page = live_charts([Chart("ELBO", "nats", "epoch", [1, 2, 3], {"training": [math.nan, -2.5, 1e7]})])
    (read,) = re.findall("data-read='(.*?)'", page)
    assert json.loads(read)["curves"] == {"training": ["–", "−2.5", "1e+07"]}
    (points,) = re.findall('points="(.*?)"', page)
    assert len(points.split()) == 2


def test_a_constant_curve_is_drawn():
    page = live_charts([Chart("KL", "nats", "epoch", [1], {"training": [0.0], "validation": [0.0]})])
    assert "nan" not in page
