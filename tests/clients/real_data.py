"""Where real data are, and the marks of tests that need them. Their place is the variable PYVAE_DATA_ROOT."""

import os
from pathlib import Path

import pytest

ROOT = os.environ.get("PYVAE_DATA_ROOT", "data")
on_mnist = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (Path(ROOT) / "MNIST" / "raw").is_dir(),
        reason=f"MNIST is not under {ROOT!r}: set PYVAE_DATA_ROOT",
    ),
]
