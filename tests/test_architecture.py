"""The house plan: which folder may import which, and how large things may grow."""

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pyvae"
FILES = sorted(PACKAGE.rglob("*.py"))

#: the rooms from the bottom up: each imports from those below it alone, and from itself
LAYERS = (
    {"errors"},
    {"core"},
    {"pages"},  # below all whose results can be looked at
    {"networks", "distributions", "quantizers", "datasets", "checkpoint"},
    {"components", "inspection"},
    {"guides", "priors", "likelihoods", "models", "objectives", "batching"},
    {"recipes", "compilation", "latent_space"},
    {"evaluation", "disentanglement", "plots"},  # plots runs pairs, by latent_space, and looks at them by pages
    {"training", "inference_data"},
    {"diagnostics"},
    {"cli"},
    {"__init__", "__main__"},
)
HEIGHT = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}
FAMILIES = {"models", "recipes", "priors", "likelihoods", "guides", "networks", "quantizers"}
KNOW_NO_FAMILY = {"inspection", "batching", "compilation", "evaluation", "training", "inference_data"}


def module_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """The modules of pyvae that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pyvae":
            for alias in node.names:
                submodule = PACKAGE.parent.joinpath(*node.module.split("."), alias.name)
                is_module = submodule.with_suffix(".py").exists() or submodule.is_dir()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.split(".")[0] == "pyvae"}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    others = {[*name.split("."), "__init__"][1] for name in imports_of(path)} - {room}
    assert not {other for other in others if HEIGHT[other] >= HEIGHT[room]}
    if room in KNOW_NO_FAMILY:
        assert not others & FAMILIES


def test_every_room_is_a_folder():
    assert {p.name.removesuffix(".py") for p in PACKAGE.iterdir() if p.suffix == ".py" or p.is_dir()} <= {
        *HEIGHT,
        "__pycache__",
    }
    at_the_root = {p.stem for p in PACKAGE.glob("*.py")}
    assert at_the_root == {"__init__", "__main__", "errors", "checkpoint", "components"}


def private_names_of_torch(path):
    """Names that begin with an underscore, in imports from torch and in what is taken from it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            yield from (name for a in node.names for name in (*node.module.split("."), a.name) if name.startswith("_"))
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith(
            ("torch._", "torch.ops.mkldnn", "optimizer._")
        ):
            yield from (name for name in ast.unparse(node).split(".") if name.startswith("_") and name[:2] != "__")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_one_file_knows_the_private_parts_of_torch(path):
    assert any(private_names_of_torch(path)) == (path == PACKAGE / "core" / "torch_internals.py")


def test_no_import_cycle():
    graph = {module_of(p): {m for m in imports_of(p) if m != module_of(p)} for p in FILES}
    done, path = set(), []

    def visit(module):
        assert module not in path, " -> ".join([*path, module])
        if module in done or module not in graph:
            return
        path.append(module)
        for other in graph[module]:
            visit(other)
        done.add(path.pop())

    for module in graph:
        visit(module)


#: the rooms that work on any pair, also one that a user wrote by hand
ANY_PAIR = (
    *("inspection", "batching", "compilation", "latent_space", "evaluation", "disentanglement"),
    *("training", "inference_data", "diagnostics"),
)


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.relative_to(PACKAGE).parts[0] in ANY_PAIR], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_no_site_is_known_by_its_name(path):
    names = {n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)}
    assert not {n for n in names if isinstance(n, str) and re.fullmatch(r"[xyzk](_\w+)?", n)}


def test_files_and_functions_stay_small():
    lengths = [len(p.read_text().splitlines()) for p in FILES]
    assert statistics.median(lengths) <= 150
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                docstring = len((ast.get_docstring(node) or "").splitlines())
                assert node.end_lineno - node.lineno + 1 - docstring <= 60, f"{path}: {node.name}"


def test_importing_is_quick():
    """What takes as long to import as torch is for those who use it; all names are there nevertheless."""
    program = """
import sys, torch, pyro
before = set(sys.modules)
import pyvae
print({name.split(".")[0] for name in set(sys.modules) - before})
for package in (pyvae, pyvae.diagnostics):
    assert set(package.__all__) <= set(dir(package))
    exec(f"from {package.__name__} import *")
assert callable(diagnose) and callable(compare) and callable(disentanglement)
try:
    pyvae.diagnostics.diagnoze
except AttributeError as error:
    assert "'pyvae.diagnostics' has no attribute 'diagnoze'" in str(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    slow = {"arviz", "matplotlib", "pandas", "scipy", "sklearn", "torchvision", "xarray"}
    assert not ast.literal_eval(done.stdout) & slow


def test_public_names_are_documented():
    for path in FILES:
        tree = ast.parse(path.read_text())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name}"


#: a first word in plain English or code, no symbol with an index or a power, and a full stop at the end
SENTENCE = re.compile(r"(?=.*\.$)(``|[A-Z](?![_^])[\w'’-]*[ .,:?]).*")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_public_docstrings_open_with_one_sentence(path):
    """Hovers, tables and ``help()`` show the first line alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            sentence, *rest = (ast.get_docstring(node) or "None is needed.").splitlines()
            assert SENTENCE.fullmatch(sentence), f"{path}: {node.name}: {sentence}"
            assert len(sentence) <= 118, f"{path}: {node.name}: {sentence}"
            assert not rest or not rest[0], f"{path}: {node.name}: no blank line after the first"
