"""Plots of a pair and data, as a notebook shows them."""

import numpy as np
import pytest
import torch

import pyvae
from pyvae import datasets, plots, recipes


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return recipes.gaussian((1, 8, 8), 3, [16])


@pytest.fixture(scope="module")
def conditional():
    torch.manual_seed(0)
    return recipes.conditional((1, 8, 8), 3, 2, [16])


X = torch.rand(30, 1, 8, 8).round()


def sheet(figure):
    return np.asarray(figure.axes[0].images[0].get_array())


def test_samples_are_the_same_each_time_and_in_rows_by_class(vae, conditional):
    assert np.array_equal(sheet(plots.samples(vae, 20)), sheet(plots.samples(vae, 20)))
    assert not np.array_equal(sheet(plots.samples(vae, 20)), sheet(plots.samples(vae, 20, seed=1)))
    labels = torch.tensor([0, 0, 0, 2, 2, 2])
    figure = plots.samples(conditional, labels=labels, names=["cat", "dog", "ship"])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["cat", "ship"]
    assert set(np.unique(sheet(plots.samples(vae, 10, mean=False)))) == {0, 1}


def test_reconstructions_have_the_data_above(vae):
    tiles = sheet(plots.reconstructions(vae, X, 4)).reshape(2, 10, 4, 10).transpose(0, 2, 1, 3)[:, :, 1:-1, 1:-1]
    assert np.array_equal(tiles[0], X[:4, 0])
    expected = vae.likelihood(vae.posterior(X[:4]).mean).mean[:, 0].detach()
    assert np.allclose(tiles[1], expected, atol=1e-6)


def test_data_of_any_form(vae, conditional):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=7)
    for count in (3, 7):
        expected = sheet(plots.reconstructions(vae, X, count))
        assert np.array_equal(sheet(plots.reconstructions(vae, loader, count)), expected)
    digits = datasets.dynamic_binarization(datasets.digits())
    once, again = (sheet(plots.reconstructions(vae, digits.without_labels().test)) for _ in range(2))
    assert np.array_equal(once, again)
    plots.reconstructions(conditional, (X, torch.arange(30) % 3), labels=torch.zeros(10, dtype=torch.long))


def test_latents_are_coloured_by_labels_that_the_pair_need_not_know(vae):
    figure = plots.latents(vae, X, torch.where(torch.arange(30) < 6, -1, torch.arange(30) % 2), names=["cat", "ship"])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["cat", "ship"]
    assert [len(c.get_offsets()) for c in figure.axes[0].collections] == [6, 12, 12]
    flat = recipes.gaussian((1, 8, 8), 2, [16])
    points = plots.latents(flat, X).axes[0].collections[0].get_offsets()
    assert np.allclose(points, flat.posterior(X).mean.detach())


def test_a_traversal_has_the_most_active_dimensions_first(vae):
    figure = plots.traversal(vae, X, index=3, count=2, steps=5)
    activity = vae.posterior(X).mean.var(0).argsort(descending=True)[:2].tolist()
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [f"z[{d}]" for d in activity]
    expected = pyvae.traverse(vae, X[3:4], dims=activity, values=torch.linspace(-2, 2, 5).tolist())
    tiles = sheet(figure).reshape(2, 10, 5, 10).transpose(0, 2, 1, 3)[:, :, 1:-1, 1:-1]
    low, high = expected.min(), expected.max()
    assert np.allclose(tiles, ((expected - low) / (high - low))[:, :, 0].detach(), atol=1e-5)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda vae: plots.samples(vae, 0), "size is 0"),
        (lambda vae: plots.reconstructions(vae, X, -1), "count is -1"),
        (lambda vae: plots.reconstructions(vae, X[:0]), "expected at least one row"),
        (lambda vae: plots.data(X[:0]), r"shape \(0, 1, 8, 8\)"),
        (lambda vae: plots.data([1]), "got a list"),
        (lambda vae: plots.latents(vae, X, torch.zeros(3)), "3 labels for 30 datapoints"),
        (lambda vae: plots.traversal(vae, X, index=30), "expected 0 to 29"),
        (lambda vae: plots.traversal(vae, X, site="w"), "'w'; expected one of z"),
        (lambda vae: plots.curves([]), "no epochs"),
        (lambda vae: plots.curves([{"epoch": 1, "train_elbo": -1.0}], ["kl"]), r"\['kl'\]; the history has \['elbo'\]"),
    ],
)
def test_mistakes(vae, draw, said):
    with pytest.raises(pyvae.PyvaeError, match=said):
        draw(vae)
