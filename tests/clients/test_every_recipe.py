"""Every recipe with its defaults, on its default data and on each kind of data that it takes, gives a good pair."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import pyvae
from pyvae import datasets, recipes
from pyvae.cli.main import main
from pyvae.cli.runs import Run, open_run

pytestmark = pytest.mark.slow


def written(path, x, y=None):
    """A file of data; every tenth row is for the test."""
    np.savez(path, x=x, **({} if y is None else {"y": y}))
    return path


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
    "reals": correlated,
    "colours": coloured,
    "binary": binary,
    "labelled": labelled_binary,
    "counts": totals,
    "gaps": gaps,
}
