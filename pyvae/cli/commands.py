"""The commands besides ``fit``: typed functions. To be imported here is all that makes a function one."""

# ruff: noqa: F401

from pyvae.cli.compare import compare
from pyvae.cli.diagnose import diagnose
from pyvae.cli.evaluate import evaluate
from pyvae.cli.reconstruct import reconstruct
from pyvae.cli.sample import sample
from pyvae.cli.tokens import decode, encode
from pyvae.cli.traverse import traverse
