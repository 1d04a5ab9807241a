"""A new command, section, prior, quantizer or family is one file and its export in one other place, and nothing else.

Each is added to a copy of the package by edits of its text, and used there by another process.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

PACKAGE = Path(__file__).parents[2] / "pyvae"


def add(package, folder, name, source, exports):
    """Write a file, and export a name of it in ``__init__.py``, as an import and in ``__all__``."""
    (package / folder / f"{name}.py").write_text(dedent(source))
    room = package / folder / "__init__.py"
    line = f"from pyvae.{folder.replace('/', '.')}.{name} import {exports}\n"
    text = re.sub(r"(?m)^__all__ = \[\n", f'{line}\n\\g<0>    "{exports}",\n', room.read_text(), count=1)
    assert line in text
    room.write_text(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the package that has everything new, and small data."""
    root = tmp_path_factory.mktemp("extended")
    package = root / "pyvae"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "cli" / "hello.py").write_text(
        dedent('''
            """The command ``hello``."""


            def hello(run: str, loudly: bool = False) -> None:
                """Greet a run.

                Args:
                    run: the run directory.
                    loudly: whether to shout.
                """
                print(f"hello {run}{'!' * loudly}")
        ''')
    )
    with (package / "cli" / "commands.py").open("a") as commands:
        commands.write("from pyvae.cli.hello import hello\n")
    add(
        package,
        "diagnostics/sections",
        "counted",
        '''
        """How many data there are."""

        from pyvae.diagnostics.sections.section import Finding, Section


        def counted(subject):
            """The number of rows."""
            return Section("How many?", (Finding("rows looked at", float(len(subject.kept[0])), "so many"),))
        ''',
        "counted",
    )
    add(
        package,
        "priors",
        "my_prior",
        '''
        """A wide normal prior."""

        import pyro.distributions as dist
        import torch

        from pyvae.priors.prior import Prior


        class MyPrior(Prior):
            """N(0, width²)."""

            def __init__(self, event_shape: int, width: float = 2.0) -> None:
                super().__init__()
                self.register_buffer("loc", torch.zeros(event_shape))
                self.width = width

            def forward(self, *context):
                return dist.Normal(self.loc, self.width).to_event(1)
        ''',
        "MyPrior",
    )
    add(
        package,
        "quantizers",
        "signs",
        '''
        """Quantization by signs."""

        import torch

        from pyvae.quantizers.quantizer import Quantized, Quantizer, straight_through


        class Signs(Quantizer):
            """e_i = ±1, the sign of z_i."""

            def __init__(self, dim: int = 3) -> None:
                super().__init__()
                self.dim, self.num_codes = dim, 2**dim
                self.register_buffer("places", 2 ** torch.arange(dim))

            def forward(self, z_e):
                codes = ((z_e > 0).long() * self.places).sum(-1)
                vectors = straight_through(self.embed(codes).to(z_e), torch.tanh(z_e))
                return Quantized(codes, vectors, torch.zeros_like(z_e[..., 0]))

            def embed(self, codes):
                return (codes[..., None] // self.places % 2 * 2 - 1).float()
        ''',
        "Signs",
    )
    add(
        package,
        "recipes",
        "factor_analysis",
        '''
        """Factor analysis: a family of its own, in plain Pyro."""

        import math
        from collections.abc import Sequence

        import pyro
        import pyro.distributions as dist
        import torch
        from torch import nn

        from pyvae.recipes.recipe import recipe


        class FactorAnalysis(nn.Module):
            """p(x | z) = N(W z, 1), q(z | x) = N(V x, 1/4)."""

            def __init__(self, shape: Sequence[int], factors: int) -> None:
                super().__init__()
                self.shape, self.factors = torch.Size(shape), factors
                self.decoder = nn.Linear(factors, math.prod(shape))
                self.encoder = nn.Linear(math.prod(shape), factors)

            def model(self, x=None, y=None, size=1):
                pyro.module("factor_analysis", self)
                rows = size if x is None else len(x)
                with pyro.plate("data", rows):
                    z = pyro.sample("z", dist.Normal(torch.zeros(self.factors), 1.0).to_event(1))
                    loc = self.decoder(z).unflatten(-1, self.shape)
                    return pyro.sample("x", dist.Normal(loc, 1.0).to_event(len(self.shape)), obs=x)

            def guide(self, x, y=None, size=1):
                with pyro.plate("data", len(x)):
                    return pyro.sample("z", dist.Normal(self.encoder(x.flatten(1)), 0.5).to_event(1))


        @recipe(epochs=1)
        def factor_analysis(shape: Sequence[int], factors: int = 2) -> FactorAnalysis:
            """Factor analysis with a normal guide.

            Args:
                shape: event shape of x.
                factors: length of z.
            """
            return FactorAnalysis(shape, factors)
        ''',
        "factor_analysis",
    )
    x = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    np.save(root / "numbers.npy", x)
    np.save(root / "bits.npy", (x > 0).astype(np.float32))
    return root


def python(folder, *words):
    """What another process prints, whose package is the copy."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fit(folder, recipe, data, *words):
    options = ["--data", data, "--preprocessing", "no_preprocessing", "--epochs", "1", "--evaluation-particles", "2"]
    fitting = ["fit", recipe, *options, "--run-dir", f"runs/{recipe}", "--no-progress", *words]
    sampling = ["sample", f"runs/{recipe}", "--count", "4", "--output", f"{recipe}.npy"]
    python(folder, "-c", f"from pyvae.cli.main import main; assert main({fitting}) == main({sampling}) == 0")


def test_the_copy_is_what_runs(folder):
    assert python(folder, "-c", "import pyvae; print(pyvae.__file__)").strip() == str(folder / "pyvae" / "__init__.py")


def test_a_command(folder):
    assert python(folder, "-m", "pyvae", "hello", "runs/some", "--loudly") == "hello runs/some!\n"
    assert "Greet a run." in python(folder, "-m", "pyvae", "--help")


def test_a_prior(folder):
    fit(folder, "gaussian", "numbers.npy", "--likelihood", "Normal", "--prior", "MyPrior", "--prior.width", "3")
    assert np.load(folder / "gaussian.npy").shape == (4, 6)


def test_a_quantizer(folder):
    fit(folder, "vqvae", "bits.npy", "--channels", "8,8", "--quantizer", "Signs", "--quantizer.dim=2")
    assert np.load(folder / "vqvae.npy").shape == (4, 6)


def test_a_family(folder):
    fit(folder, "factor_analysis", "numbers.npy", "--factors", "3")
    assert np.load(folder / "factor_analysis.npy").shape == (4, 6)


def test_a_section_of_the_diagnosis(folder):
    program = """
    import inspect, torch, pyvae
    default = inspect.signature(pyvae.diagnose).parameters["sections"].default
    mine = [section for section in default if section.__name__ == "counted"]
    pair = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
    x = torch.rand(30, 5).round()
    diagnosis = pyvae.diagnose(pair, x, num_particles=25, sections=mine, progress=False)
    print(*diagnosis.sections, diagnosis["rows looked at"].value)
    """
    assert python(folder, "-c", dedent(program)) == "counted 30.0\n"
