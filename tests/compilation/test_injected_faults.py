"""Whatever fails in recording or compiling, a pair is trained as it is, with a line that says why; no process dies."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys, warnings
from contextlib import nullcontext
from unittest import mock
import pyro, torch
import pyvae
from pyvae.compilation import program, tracing
from pyvae.core.torch_internals import FakeTensor
from tests.compilation.pairs import WIDTH, ByHand


def fails(error):
    def fail(*args, **kwargs):
        raise error
    return fail


class Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        if isinstance(gradient, FakeTensor):
            raise KeyError("in an autograd function")
        return gradient


def in_a_hook(gradient):
    if isinstance(gradient, FakeTensor):
        raise KeyError("in a hook of a tensor")


def in_a_module(module, inputs, output):
    if isinstance(output, FakeTensor):
        raise KeyError("in a hook of a module")


def hooked(x):
    if x.requires_grad:
        x.register_hook(in_a_hook)
    return x


class Mode(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.exp and isinstance(args[0], FakeTensor):
            raise KeyError("in a mode of the user")
        return function(*args, **(kwargs or {}))


def in_a_mode(x):
    with Mode():
        return x + 0 * x.exp().detach()


class Encoding(ByHand):
    def __init__(self, act):
        super().__init__()
        self.act = act

    def encode(self, x):
        return self.act(super().encode(x))


def replaced(fault):
    kind, _, what = fault.partition(": ")
    if kind == "compiler":
        return mock.patch.object(program, "compile_graph", fails(eval(what)))
    if kind == "recording":
        return mock.patch.object(tracing, "trace_graph", fails(eval(what)))
    if kind == "preparation":
        return mock.patch.object(program, what, fails(KeyError("val")))
    if kind == "program":
        run = fails(RuntimeError("in the program"))
        return mock.patch.object(program, "compile_graph", lambda graph, examples: run)
    return nullcontext()


def make(fault):
    if fault in ACTS:
        return Encoding(ACTS[fault])
    pair = ByHand()
    if fault == "module":
        pair.decoder.register_forward_hook(in_a_module)
    return pair


ACTS = {"autograd": Backward.apply, "hook": hooked, "mode": in_a_mode}
for fault in sys.argv[1:]:
    torch.manual_seed(0)
    with replaced(fault), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pair, x = make(fault), torch.randn(40, WIDTH)
        result = pyvae.fit(pair, x, epochs=2, batch_size=8, seed=0, compile=True, progress=False)
    (said,) = [str(w.message) for w in caught if "without compilation" in str(w.message)]
    assert "\\n" not in said, said
    assert len(result.history) == 2
    print(said)
"""


def trained(*faults, **environment):
    """What is said of each of the faults, one after another in a process."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *faults],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


FAULTS = {
    "compiler: RuntimeError('no room')": "the compiler failed: RuntimeError: no room",
    "compiler: KeyError('odd')": "the compiler failed: KeyError",
    "compiler: MemoryError()": "the compiler failed",
    "compiler: OSError(28, 'No space left on device')": "No space left",
    "recording: RecursionError('too deep')": "RecursionError",
    "recording: MemoryError()": "MemoryError",
    "recording: OSError(5, 'odd')": "OSError",
    "preparation: choose_products": "the compiler failed: KeyError",
    "preparation: guard_indices": "the compiler failed: KeyError",
    "program": "the compiled program failed: RuntimeError: in the program",
    "autograd": "in an autograd function",
    "hook": "in a hook of a tensor",
    "module": "in a hook of a module",
    "mode": "in a mode of the user",
}


@pytest.fixture(scope="module")
def told():
    return dict(zip(FAULTS, trained(*FAULTS), strict=True))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_told_and_the_pair_is_trained(fault, told):
    assert FAULTS[fault] in told[fault]


@pytest.mark.parametrize(
    "environment",
    [{"CXX": "/nowhere/c++"}, pytest.param({"TORCHINDUCTOR_CACHE_DIR": "/proc"}, marks=pytest.mark.slow)],
    ids=["no compiler", "no place to write"],
)
def test_without_what_a_compiler_needs(environment, tmp_path):
    (said,) = trained("environment", **{"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)} | environment)
    assert "without compilation" in said
