"""``pyvae compare``, used as a person would."""

import json
import re
import shutil

import pytest

from pyvae.cli.main import main

QUICK = ["--epochs=1", "--hidden=[8]", "--latent-dim=2", "--evaluation-particles=2", "--no-progress"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs, a copy, and some of which the record alone is changed: they are refused before more of them is read."""
    directory = tmp_path_factory.mktemp("runs")
    for name, options in {"a": [], "b": ["--epochs=3"]}.items():
        assert main(["fit", "gaussian", *QUICK, *options, f"--run-dir={directory / name}"]) == 0
    shutil.copytree(directory / "b", directory / "more" / "a")
    for name, change in {
        "labels": {"arguments": {"shape": [1, 8, 8], "num_classes": 10}},
        "real": {"preprocessing": [{"name": "standardization", "mean": [0.3], "scale": [0.4]}]},
        "others": {"data": {"data": "mnist", "preprocessing": "dynamic_binarization"}},
    }.items():
        (directory / name).mkdir()
        record = json.loads((directory / "a" / "run.json").read_text())
        (directory / name / "run.json").write_text(json.dumps(record | change))
    return directory


def test_ranks_runs_and_overwrites_nothing(runs, capsys):
    words = ["compare", str(runs / "a"), str(runs / "b"), "--num-particles=20"]
    assert main(words) == 0
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "'b' gives a datapoint exp(" in out
    first, second = (json.loads((runs / "a" / f"comparison-{n}.json").read_text()) for n in (1, 2))
    assert first == second
    assert list(first["figures"]) == ["b", "a"]
    assert first["figures"]["a"]["difference"] < 0 == first["figures"]["b"]["difference"]
    assert first["runs"]["b"] == str(runs / "b")
    assert main([*words, f"--output={runs / 'a' / 'comparison-1.json'}"]) == 2
    assert "not overwritten" in capsys.readouterr().err


def test_runs_of_the_same_name_go_by_their_paths(runs, tmp_path):
    output = tmp_path / "figures.json"
    arguments = [str(runs / "a"), str(runs / "more/a"), str(runs / "b")]
    assert main(["compare", *arguments, "--num-particles=5", f"--output={output}"]) == 0
    assert set(json.loads(output.read_text())["figures"]) == {*arguments[:2], "b"}


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["labels"], "labels and .*a cannot be compared: the first is given the label of each datapoint"),
        (["real"], "preprocessing is .*standardization.* there and .*dynamic_binarization.* here"),
        (["others"], "data is mnist there and digits here"),
        (["a"], "expected two or more different ones"),
        ([], "expected two or more different ones"),
        (["none"], "none is no run directory"),
        (["b", "--output=x.txt"], "expected a .json file"),
        (["b", "--num-particles=0"], "num_particles is 0"),
        (["b", "--seed=-1"], "seed is -1"),
    ],
)
def test_mistakes_are_told_in_a_sentence(runs, capsys, others, message):
    words = [w if w.startswith("--") else str(runs / w) for w in others]
    capsys.readouterr()
    assert main(["compare", str(runs / "a"), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error)
