"""Recipes and components of one's own, named on the command line; files may name them only if the user does, too."""

import json
import re
import sys
from pathlib import Path

import pytest

import pyvae
from pyvae.cli.main import main

MODULE = '''
"""Code of a user's own."""

from collections.abc import Sequence

import pyvae

print("imported")


class MyLikelihood(pyvae.likelihoods.Bernoulli):
    """A likelihood."""


def my_recipe(shape: Sequence[int], width: int = 3, hidden: list[int] = [8]) -> pyvae.VAE:
    """A VAE.

    Args:
        shape: of x.
        width: length of z.
        hidden: widths.
    """
    return pyvae.recipes.gaussian(shape, latent_dim=width, hidden=hidden)


def typed(size: int) -> int:
    """No recipe."""
'''
SMALL = ["--epochs=1", "--hidden=4,4", "--evaluation-particles=2", "--no-progress"]
OWN = {
    "recipe": ["my_own:my_recipe", "--width=2"],
    "class": ["gaussian", "--likelihood=my_own:MyLikelihood"],
    "class by its path": ["gaussian", "--likelihood", "my_own.MyLikelihood"],
}


@pytest.fixture
def forgotten(tmp_path, monkeypatch):
    """The module is in the current directory; call this to forget it, as a new process would."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    Path("my_own.py").write_text(MODULE)
    forget = lambda: sys.modules.pop("my_own", None)
    forget()
    yield forget
    forget()


def run(words):
    try:
        return main(words)
    except SystemExit as stop:
        return stop.code


@pytest.mark.parametrize("words", OWN.values(), ids=OWN)
def test_code_that_is_named_again_is_used_and_no_other(words, forgotten, capsys):
    path = list(sys.path)
    assert main(["fit", *words, *SMALL, "--run-dir=run"]) == 0
    assert sys.path == path
    assert json.loads(Path("run/run.json").read_text())["code"].keys() == {"my_own"}
    for command in (["evaluate", "run", "--num-particles=2"], ["sample", "run"], ["fit", "--resume=run", "--epochs=2"]):
        forgotten()
        capsys.readouterr()
        assert main(command) == 2
        shown = capsys.readouterr()
        assert re.search("my_own.* is not ours.*--trust my_own", shown.err)
        assert "imported" not in shown.out
        assert "my_own" not in sys.modules
        assert main([*command, "--trust", "my_own"]) == 0
        assert "source of" not in capsys.readouterr().err
    forgotten()
    with pytest.raises(pyvae.CheckpointError, match="trust="):
        pyvae.load("run/model.safetensors")
    assert "my_own" not in sys.modules


@pytest.mark.parametrize("words", OWN.values(), ids=OWN)
def test_weights_load_in_python_if_the_module_is_named(words, forgotten, monkeypatch):
    assert main(["fit", *words, *SMALL, "--run-dir=run"]) == 0
    monkeypatch.syspath_prepend(".")
    assert pyvae.load("run/model.safetensors", trust=["my_own"]).model(size=2).shape == (2, 1, 8, 8)
    with pytest.raises(pyvae.CheckpointError, match="not ours"):
        pyvae.load("run/model.safetensors", trust=["another"])


def test_another_source_gives_a_warning(forgotten, capsys):
    assert main(["fit", "my_own:my_recipe", *SMALL, "--run-dir=run"]) == 0
    assert "source of" not in capsys.readouterr().err
    forgotten()
    Path("my_own.py").write_text(MODULE + "# a change\n")
    assert main(["evaluate", "run", "--num-particles=2", "--trust=my_own"]) == 0
    assert "warning: the source of my_own is not the one" in capsys.readouterr().err
    assert main(["fit", "my_own:my_recipe", "--resume", "run", "--epochs=2"]) == 0
    assert "warning: the source of my_own is not the one" in capsys.readouterr().err


def test_default_directory_and_options_of_a_recipe(forgotten, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "my_own:my_recipe", "--help"])
    shown = capsys.readouterr().out
    assert "length of z" in shown
    assert "--width" in shown
    assert main(["fit", "my_own:my_recipe", *SMALL]) == 0
    assert Path("runs/my_recipe-1/report.html").exists()


BAD = {
    "no such function": (
        ["my_own:recipe"],
        "cannot import my_own:recipe: .*no attribute 'recipe'; expected",
    ),
    "no such module": (["nowhere:recipe"], "cannot import nowhere:recipe: .*No module named 'nowhere'"),
    "class": (["my_own:MyLikelihood"], "expected a function that makes a pair from shape"),
    "function without shape": (["my_own:typed"], "expected a function that makes a pair from shape"),
    "broken module": (["broken:recipe"], "cannot import broken:recipe: SyntaxError"),
    "no such class": (
        ["gaussian", "--likelihood=my_own:Mine"],
        "likelihood is my_own.Mine .*no attribute 'Mine'",
    ),
    "another kind": (["gaussian", "--prior=my_own:MyLikelihood"], "--prior is my_own.MyLikelihood; expected one of"),
    "unknown option": (["my_own:my_recipe", "--latent-dim=3"], "there is no option --latent-dim"),
}


@pytest.mark.parametrize(("words", "match"), BAD.values(), ids=BAD)
def test_bad_names(words, match, forgotten, capsys):
    Path("broken.py").write_text("def recipe(\n")
    assert run(["fit", *words]) == 2
    shown = capsys.readouterr().err
    assert re.search(match, shown)
    assert "Traceback" not in shown
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def mine(shape: list[int], width=3):\n    return None\n", "has no type for width; expected hints"),
        ("def mine(shape: list[int], width: int = 3):\n    return None\n", "mine returned NoneType; expected a pair"),
    ],
    ids=["untyped", "no pair"],
)
def test_what_is_no_recipe_is_refused_in_a_line(source, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("recipes_of_mine.py").write_text(source)
    monkeypatch.delitem(sys.modules, "recipes_of_mine", raising=False)
    assert main(["fit", "recipes_of_mine:mine", "--epochs=1"]) == 2
    assert words in capsys.readouterr().err
