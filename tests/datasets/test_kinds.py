"""What the values of data are."""

import pytest
import torch

from pyvae import datasets
from pyvae.datasets import DataSplits, InMemory, Kind, values_of


def splits(x, levels=None):
    return DataSplits("own", InMemory(x), InMemory(x), num_classes=0, levels=levels)


RGB, GREY = torch.randint(0, 256, (2, 20, 3, 4, 4), dtype=torch.uint8)[0], torch.rand(20, 1, 4, 4)
COUNTS = torch.arange(60.0).view(20, 3)
GAPS = torch.tensor([[1.0, torch.nan], [0.0, 1.0]])

KINDS = {
    "bytes of colours": (splits(RGB, 256), Kind.LEVELS, "images with 3 channels of 256 levels"),
    "bytes of grey": (splits(RGB[:, :1], 256), Kind.LEVELS, "images in 256 grey levels"),
    "bytes of vectors": (splits(RGB[:, 0, 0], 256), Kind.LEVELS, "numbers on 256 levels"),
    "zeros and ones": (splits(GREY.round()), Kind.BINARY, "binary values"),
    "zeros, ones and gaps": (splits(GAPS), Kind.BINARY, "binary values with missing values"),
    "grey": (splits(GREY), Kind.INTENSITIES, "numbers in [0, 1]"),
    "counts": (splits(COUNTS), Kind.COUNTS, "counts"),
    "whole numbers": (splits(COUNTS - 1), Kind.REALS, "real numbers"),
    "fractions": (splits(COUNTS / 2), Kind.REALS, "real numbers"),
    "binarized": (datasets.dynamic_binarization(splits(RGB, 256)), Kind.BINARY, "binary values"),
    "dequantized": (datasets.dequantization(splits(RGB, 256)), Kind.REALS, "real numbers"),
    "standardized": (datasets.standardization(splits(COUNTS)), Kind.REALS, "real numbers"),
}


@pytest.mark.parametrize(("data", "kind", "words"), KINDS.values(), ids=KINDS)
def test_the_kind_of_data_follows_from_their_values(data, kind, words):
    values = values_of(data)
    assert values.kind is kind
    assert str(values) == words


def test_the_scale_is_that_around_the_mean_of_each_element():
    x = torch.randn(9000, 3) * torch.tensor([1.0, 2.0, 3.0]) + torch.tensor([0.0, 100.0, 0.0])
    x = x.masked_fill(torch.rand(x.shape) < 0.3, torch.nan)
    values = values_of(splits(x))
    assert values.scale == pytest.approx(((1 + 4 + 9) / 3) ** 0.5, rel=0.03)
    assert values.total == pytest.approx(100, rel=0.01)
    assert values.missing


def test_the_kind_is_that_of_all_rows():
    x = torch.zeros(9000, 2)
    for value, kind in ((3.0, Kind.COUNTS), (0.5, Kind.INTENSITIES), (-1.0, Kind.REALS), (1.0, Kind.BINARY)):
        x[4321, 1] = value
        assert values_of(splits(x)).kind is kind


def test_looking_at_random_data_is_repeatable_and_draws_nothing():
    data, before = datasets.dequantization(datasets.digits()), torch.get_rng_state()
    assert values_of(data) == values_of(data)
    assert torch.equal(torch.get_rng_state(), before)
