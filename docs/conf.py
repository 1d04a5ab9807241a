"""Sphinx settings. Build from the root: python -m sphinx -W --keep-going -b html docs docs/_build/html."""

import shutil
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent

# The tutorials live at the top of the repository; Sphinx reads only what is below this folder. Copies are made anew
# for each build, and git ignores them.
for copy in (HERE / "tutorials").glob("*.md"):
    if copy.name != "index.md":
        copy.unlink()
for tutorial in (HERE.parent / "tutorials").glob("*.md"):
    shutil.copy2(tutorial, HERE / "tutorials")

# The tables of compatibility are made by the tests.
sys.path.insert(0, str(HERE.parent))
from tests.clients import pyro_examples_table  # noqa: E402
from tests.conformance.matrix import page  # noqa: E402

(HERE / "reference" / "combinations.md").write_text(page())
(HERE / "reference" / "pyro_examples.md").write_text(pyro_examples_table.page())

project = "pyvae"
author = "the pyvae authors"
version = release = version_of("pyro-vae")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"pyvae {version}"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Every page with code is run at every build, and a failing cell fails the build.
nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_in_temp = True  # files that a page writes do not land in the repository
nb_output_stderr = "remove"  # tqdm warns of missing widgets wherever torch is imported in a notebook

autodoc_member_order = "groupwise"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False


def _mend_docstring(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Pages have introductions of their own; and napoleon takes what precedes a property's first colon for its type."""
    if what == "module":
        lines.clear()
    if what == "property":
        lines[:1] = [line.replace(": ", " – ") for line in lines[:1]]


def setup(app: object) -> None:
    app.connect("autodoc-process-docstring", _mend_docstring, priority=400)  # before napoleon's 500
