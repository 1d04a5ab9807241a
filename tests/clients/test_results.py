"""What fit, evaluate, diagnose, compare and code_usage return, as a notebook shows it."""

import re
from base64 import b64decode

import numpy as np
import pandas as pd
import torch

import pyvae
from pyvae import datasets, recipes
from pyvae.evaluation import CodeUsage

X = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()


def results():
    torch.manual_seed(0)
    pair, x = recipes.gaussian((1, 8, 8), 3, [16]), X
    fitted = pyvae.fit(pair, x, validation=x[:10], epochs=3, seed=0, progress=False)
    evaluation = pyvae.evaluate(pair, x, 10, seed=0)
    yield fitted, "3 epochs", 3
    yield evaluation, "30 datapoints with 10 draws", 5
    pairs = {"one": pair, "another": recipes.gaussian((1, 8, 8), 2, [16])}
    yield pyvae.compare(pairs, x, 10, seed=0), "Comparison", 2
    yield pyvae.diagnose(pair, x, 30, seed=0, sections=pyvae.diagnostics.SECTIONS[:1]), "Diagnosis of VAE", None
    yield CodeUsage(torch.tensor([5, 3, 0, 0, 0]), places=1), "2 of 5 codes occur (40%)", 5
    yield datasets.dynamic_binarization(datasets.digits()), "dynamic binarization", 10


def test_results_show_themselves_in_a_notebook():
    """A title, a table or a sentence, and a picture, with nothing from elsewhere; a table and a figure as values."""
    for result, said, rows in results():
        page = result._repr_html_()
        assert said in page
        assert not re.search(r"https?://|<script|<link|(src|href)=\"(?!data:)", page)
        for content in re.findall('base64,([^"]*)', page):
            assert b64decode(content).startswith(b"\x89PNG")
        result.plot().canvas.draw()
        table = result.to_dataframe()
        assert isinstance(table, pd.DataFrame)
        assert rows is None or len(table) == rows
        if hasattr(result.plot(), "_repr_png_"):
            assert result.plot()._repr_png_().startswith(b"\x89PNG")


def test_a_run_that_ended_in_its_first_epoch_shows_itself():
    result = pyvae.FitResult([], 0, 0)
    assert "0 epochs" in result._repr_html_()
    assert len(result.to_dataframe()) == 0


def test_tables_of_results_hold_their_figures():
    pair = recipes.gaussian((1, 8, 8), 3, [16])
    evaluation = pyvae.evaluate(pair, X, 10, seed=0)
    table = evaluation.to_dataframe()
    assert table.loc["elbo", "value"] == evaluation.elbo.value
    assert table.loc["elbo", "standard_error"] == evaluation.elbo.standard_error
    assert table.loc["log_likelihood", "dataset_standard_error"] == evaluation.log_likelihood.dataset_standard_error
    assert np.isnan(table.loc["kl", "standard_error"])
    assert f"{evaluation.elbo.value:.3f}" in evaluation._repr_html_()
    splits = datasets.digits()
    counts = splits.to_dataframe()
    assert counts["train"].tolist() == splits.train.tensors[1].bincount().tolist()
    assert splits.without_labels().train.tensors[0].shape[0] == counts["train"].sum()
    usage = CodeUsage(torch.tensor([6, 2, 0]), places=1).to_dataframe()
    assert usage["share"].tolist() == [0.75, 0.25, 0]
