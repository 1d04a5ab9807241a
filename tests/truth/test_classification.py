"""Inferred labels beside known ones, against scikit-learn's figures."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix
from torch import nn

import pyvae
from pyvae import datasets, recipes


class Sorted(nn.Module):
    """A pair somebody wrote, which takes the largest element for the class; ``answer`` makes something of it."""

    def __init__(self, answer=lambda x: x.softmax(-1)):
        super().__init__()
        self.answer = answer

    def model(self, x=None, y=None):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None], 1.0).expand([len(x), 4]).to_event(1), obs=x)

    def guide(self, x=None, y=None):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean(-1), 0.5))

    def classify(self, x):
        return self.answer(x)


def labelled(rows=300):
    """Rows of which some have a label, often that of the largest element."""
    x, y = torch.randn(rows, 4), torch.randint(4, (rows,))
    x = x + 2 * nn.functional.one_hot(y, 4)
    return x, torch.where(torch.rand(rows) < 0.2, -1, y)


def test_it_is_scikit_learns():
    x, y = labelled()
    known = y >= 0
    inferred = x.argmax(-1)
    result = pyvae.classification(Sorted(), (x, y))
    assert result.confusion.tolist() == confusion_matrix(y[known], inferred[known]).tolist()
    assert result.accuracy == accuracy_score(y[known], inferred[known])
    assert result.num_labels == int(known.sum())
    right = (inferred == y)[known].double()
    assert result.standard_error == pytest.approx(float(right.std(correction=0)) / len(right) ** 0.5)


def test_batches_are_added_up_and_evaluate_reports_it():
    x, y = labelled()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=70)
    whole = pyvae.classification(Sorted(), (x, y))
    assert torch.equal(pyvae.classification(Sorted(), loader).confusion, whole.confusion)
    evaluation = pyvae.evaluate(Sorted(), (x, y), num_particles=2, seed=0)
    assert torch.equal(evaluation.classification.confusion, whole.confusion)
    assert evaluation.figures()["accuracy"] == whole.accuracy


def test_it_changes_no_other_figure():
    x, y = labelled()
    pair, other = Sorted(), Sorted()
    other.answer = None  # not callable: whatever it is, it is no classifier
    figures, without = (pyvae.evaluate(p, (x, y), num_particles=2, seed=0).figures() for p in (pair, other))
    assert {k: v for k, v in figures.items() if "accuracy" not in k} == without


@pytest.mark.parametrize(
    ("answer", "words"),
    [(lambda x: x.argmax(-1), r"shape \(300,\) .* \(300, K\)"), (lambda x: [0] * len(x), "list")],
    ids=["classes", "list"],
)
def test_what_is_no_probability_is_refused_by_name(answer, words):
    with pytest.raises(pyvae.PairError, match=words):
        pyvae.classification(Sorted(answer), labelled())
    assert pyvae.evaluate(Sorted(answer), labelled(), num_particles=2).classification is None


def test_without_labels_there_is_nothing_to_compare():
    x, y = labelled()
    pair = recipes.semi_supervised((4,), 4, latent_dim=2, hidden=[4])
    binary = (x > 0).float()
    with pytest.raises(pyvae.DataError, match="have no labels"):
        pyvae.classification(pair, binary)
    with pytest.raises(pyvae.DataError, match="no label of the data is known"):
        pyvae.classification(pair, (binary, torch.full_like(y, -1)))
    with pytest.raises(pyvae.PairError, match="VAE has no method classify"):
        pyvae.classification(recipes.gaussian((4,), latent_dim=2, hidden=[4]), binary)
    with pytest.raises(pyvae.DataError, match="go up to 7"):
        pyvae.classification(Sorted(), (x, y + 4))
    assert pyvae.evaluate(pair, (binary, torch.full_like(y, -1)), num_particles=2).classification is None


def test_kept_labels_are_of_all_classes_and_the_test_data_keep_theirs():
    data = datasets.digits()
    few = datasets.keep_labels(data, 100)
    y, all_y = few.train.tensors[1], data.train.tensors[1]
    assert int((y >= 0).sum()) == 100
    assert torch.equal(y[y >= 0], all_y[y >= 0])
    assert set(y[y >= 0].tolist()) == set(range(10))
    assert torch.equal(few.test.tensors[1], data.test.tensors[1])
    assert torch.equal(datasets.keep_labels(data, 100).train.tensors[1], y)
    assert not torch.equal(datasets.keep_labels(data, 100, seed=1).train.tensors[1], y)


@pytest.mark.parametrize("count", [9, 1430, 10**6])
def test_counts_that_do_not_fit_are_refused(count):
    with pytest.raises(pyvae.DataError, match="expected 10 to 1,427"):
        datasets.keep_labels(datasets.digits(), count)


def test_labels_are_not_hidden_twice():
    few = datasets.keep_labels(datasets.digits(), 100)
    with pytest.raises(pyvae.DataError, match="hidden already"):
        datasets.keep_labels(few, 50)
    with pytest.raises(pyvae.DataError, match="no labels"):
        datasets.keep_labels(replace(few, num_classes=0).without_labels(), 50)


def test_the_command_line_hides_labels_and_reports_the_accuracy(tmp_path):
    command = [sys.executable, "-m", "pyvae", "fit", "semi_supervised", "--epochs", "1", "--evaluation-particles", "2"]
    ended = subprocess.run(
        [*command, "--run-dir", tmp_path / "run", "--labelled", "60"], capture_output=True, text=True, check=True
    )
    assert re.search(r"labels: [56]\d of 1,293 training data have one", ended.stderr)
    assert "accuracy" in ended.stdout
    assert 0 < json.loads((tmp_path / "run" / "evaluation.json").read_text())["accuracy"] <= 1
    assert "Inferred labels" in (tmp_path / "run" / "report.html").read_text()
