"""Images that are drawn from factors: that they show what the factors say, and each something else."""

import json
import math

import pytest
import torch

from pyvae import datasets
from pyvae.cli.data import load_data
from pyvae.cli.main import main
from pyvae.datasets import Sprites
from pyvae.errors import ArgumentError, DataError

SMALL = Sprites(image_size=16, orientations=3, positions=4, colours=["white"])


def coverage(sprites, *values):
    """An image as how much of each pixel is covered, with the pixels' places, half an image being 1."""
    (image,) = sprites.draw(torch.tensor([values])).double() / 255
    steps = (torch.arange(sprites.image_size, dtype=torch.float64) + 0.5) * 2 / sprites.image_size - 1
    return image[0], steps[None, :], steps[:, None]


def test_each_combination_of_factors_gives_another_image():
    for sprites in (Sprites(), Sprites(image_size=16, colours=["white"])):
        factors = sprites.factors()
        images = {image.tobytes() for image in sprites.draw(factors.values).numpy()}
        assert len(images) == len(factors) == math.prod(sprites.sizes)


@pytest.mark.parametrize(
    ("shape", "area"),
    [("square", 2), ("ellipse", math.pi / 2), ("triangle", 3 * 3**0.5 / 4), ("heart", (4 + math.pi) / 4)],
)
def test_shapes_have_their_areas_at_any_turn(shape, area):
    """The half-covered rim is a pixel wide, w = 2/512: its error is of the second order but at corners, of w²."""
    sprites = Sprites(512, shapes=[shape], scales=1, positions=1, colours=["white"])
    for orientation in range(sprites.orientations):
        covered, *_ = coverage(sprites, orientation)
        assert float(covered.sum() * (2 / 512) ** 2) == pytest.approx(area * 0.35**2, rel=0.002)


def test_places_turns_and_sizes_are_what_the_factors_say():
    sprites = Sprites(256, shapes=["ellipse"], scales=2, positions=5, colours=["white"])
    for scale, orientation, x, y in [(0, 1, 0, 4), (1, 2, 3, 1), (1, 5, 2, 2)]:
        covered, right, down = coverage(sprites, scale, orientation, x, y)
        weights = covered / covered.sum()
        centre = float((weights * right).sum()), float((weights * down).sum())
        assert centre == pytest.approx((-0.5 + x / 4, -0.5 + y / 4), abs=1e-3)
        u, v = right - centre[0], down - centre[1]
        across, along, both = ((weights * m).sum() for m in (v * v, u * u, u * v))
        turned = 0.5 * math.atan2(2 * both, along - across)  # of the longer axis
        assert math.degrees(turned) % 180 == pytest.approx(15 * orientation, abs=0.5)
        radius = 0.25 + 0.2 * scale
        assert float(along + across) == pytest.approx(radius**2 / 4 * (1 + 0.25), rel=0.01)  # a²/4 + b²/4


def test_large_images_are_drawn_few_at_a_time(monkeypatch):
    """What is drawn at once is bounded by its pixels, however large an image is, and is the same in any number."""
    drawn, sizes = Sprites._drawn, []
    monkeypatch.setattr(Sprites, "_drawn", lambda self, values: sizes.append(len(values)) or drawn(self, values))
    for size in (16, 33, 128, 2048):
        sprites = Sprites(size, scales=2, orientations=2, positions=5, colours=["white"])
        values = sprites.factors().values[: 2 if size == 2048 else None]
        sizes.clear()
        images = sprites.draw(values)
        assert max(sizes) * size**2 <= 2**20 or max(sizes) == 1
        assert torch.equal(images[::40], torch.cat([sprites.draw(one[None]) for one in values[::40]]))


def test_colours():
    sprites = Sprites(shapes=["square"], scales=1, orientations=1, positions=1, colours=["red", "yellow"])
    centre = sprites.draw(torch.tensor([[0], [1]]))[:, :, 16, 16]
    assert centre.tolist() == [[255, 51, 51], [255, 230, 51]]
    assert sprites.image_shape == (3, 32, 32)
    assert SMALL.draw(torch.tensor([[0, 0, 0, 0, 0]])).shape == (1, 1, 16, 16)


def test_the_split_is_whole_and_the_same_each_time():
    data = SMALL.labelled()
    rows = torch.cat([data.train.factors.values, data.test.factors.values])
    assert len(rows.unique(dim=0)) == len(rows) == 576
    assert torch.equal(data.test.tensors[0], SMALL.labelled().test.tensors[0])
    of_each = data.test.tensors[1].bincount()
    assert of_each.amax() - of_each.amin() <= 1
    assert (data.num_classes, data.levels, data.shape) == (4, 256, (1, 16, 16))
    assert 0 <= data.train[:100][0].min() < data.train[:100][0].max() == 1


@pytest.mark.parametrize(
    "changed",
    [
        lambda data: data,
        lambda data: data.without_labels(),
        lambda data: data.hold_out(0.2, seed=3)[0],
        datasets.standardization,
        datasets.dynamic_binarization,
        datasets.static_binarization,
    ],
)
def test_factors_stay_with_their_rows(changed):
    data = changed(SMALL.labelled())
    drawn = SMALL.draw(data.train.factors.values)
    assert len(data.train) == len(drawn)
    binary = data.train.tensors[0].dtype == torch.bool
    same = drawn.eq(255) <= data.train.tensors[0] if binary else drawn == data.train.tensors[0]
    assert same.all()
    assert torch.equal(data.test.fixed().factors.values, data.test.factors.values)
    assert torch.equal(data.hold_out(0.5)[1].factors.values, data.hold_out(0.5)[1].rows(slice(None)).factors.values)


def test_captions_tell_what_is_to_be_seen():
    captions = Sprites().captions(torch.tensor([[0, 0, 2, 0, 0, 0], [1, 1, 0, 3, 3, 2], [3, 2, 5, 6, 3, 4]]))
    assert captions == [
        "a small red square, turned by 30 degrees, at the top left",
        "a blue ellipse, in the centre",
        "a large purple heart, turned by 75 degrees, on the right",
    ]
    assert Sprites(shapes=["square"], scales=1, colours=["orange"], positions=1).captions(torch.tensor([[0]])) == [
        "an orange square, in the centre"
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shapes": ["circle"]}, "circle.*square, ellipse, triangle, heart"),
        ({"shapes": "square"}, "shapes are 'square'"),
        ({"shapes": []}, "shapes are"),
        ({"shapes": 3}, "shapes are 3; expected a list of some of square, ellipse"),
        ({"shapes": [["square"]]}, r"shapes are \[\['square'\]\]; expected a list"),
        ({"colours": None}, "colours are None; expected a list of some of red"),
        ({"colours": ["red", "red"]}, "each once"),
        ({"positions": 0}, "positions is 0"),
        ({"image_size": 16.0}, "image_size is 16.0"),
        ({"radii": (0.5, 0.4)}, r"radii are \(0.5, 0.4\)"),
        ({"radii": (0.5, 1.0)}, "0.95"),
        ({"radii": (0, 0.4)}, "radii are"),
        ({"radii": (0.4, 0.4)}, "radii are"),
        ({"radii": 0.4}, "radii are 0.4"),
        ({"radii": ("a", 0.4)}, "radii are"),
    ],
)
def test_sprites_that_cannot_be_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        Sprites(**options)


def test_sets_that_are_too_small_are_refused():
    one = Sprites(shapes=["square"], scales=1, orientations=1, positions=1, colours=["red"])
    with pytest.raises(ArgumentError, match="single image"):
        one.labelled()
    with pytest.raises(ArgumentError, match=r"16 images of 4 shapes.*20"):
        Sprites(scales=1, orientations=1, positions=2, colours=["white"]).labelled()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (torch.zeros(2, 5), "float32.*ints"),
        ([[0, 0, 0, 0, 0]], "list"),
        (torch.zeros(2, 6, dtype=torch.long), r"\(2, 6\).*\(N, 5\)"),
        (torch.tensor([[0, 0, 0, 0, 0], [0, 0, 3, 0, 0]]), r"row 1 .*\[0, 0, 3, 0, 0\].*\(4, 3, 3, 4, 4\)"),
    ],
)
def test_values_that_are_no_factors_are_refused(values, message):
    for function in (SMALL.draw, SMALL.captions):
        with pytest.raises(DataError, match=message):
            function(values)


def test_by_name():
    data = load_data("sprites", preprocessing="no_preprocessing")
    x, y = data.test[:50]
    values = data.test.factors.values[:50]
    assert torch.equal(x, Sprites().draw(values) / 255)
    assert torch.equal(y, values[:, 0])


@pytest.mark.slow
def test_on_the_command_line(tmp_path):
    options = ["--epochs=1", "--hidden=[4]", "--latent-dim=2", "--evaluation-particles=2", "--no-progress"]
    run = tmp_path / "run"
    assert main(["fit", "conditional", "--data=sprites", "--batch-size=512", *options, f"--run-dir={run}"]) == 0
    arguments = json.loads((run / "run.json").read_text())["arguments"]
    assert (arguments["shape"], arguments["num_classes"]) == ([3, 32, 32], 4)
