"""Indices out of range: an error as PyTorch raises it, where compiled code on several threads would end the process."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

import pyvae
from pyvae.compilation import Program

USES = {
    "advanced": lambda table, index: table[index],
    "advanced, second dimension": lambda table, index: table[:, index],
    "embedding": lambda table, index: functional.embedding(index, table),
    "gather": lambda table, index: table.gather(-1, index[:, None]),
    "gather of a scalar": lambda table, index: table.sum().gather(0, index[:1] // 4),
    "index_select": lambda table, index: table.index_select(0, index),
    "scatter": lambda table, index: table.scatter(0, index[:, None], 1.0),
    "scatter_add": lambda table, index: torch.zeros(4, 1).scatter_add_(0, index[:, None], table[:, :1]),
    "index_put": lambda table, index: table.index_put((index,), torch.ones(4)),
    "index_add": lambda table, index: table.index_add(0, index, torch.ones(4, 4)),
    "cross entropy": functional.cross_entropy,
}


def with_gradient(use):
    def function(table, index):
        table = table.clone().requires_grad_()
        used = use(table, index)
        return used.detach(), *torch.autograd.grad(used.square().sum(), [table])

    return function


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("make", [lambda use: use, with_gradient], ids=["alone", "with its gradient"])
def test_indices_out_of_range_are_refused(interpreted, use, make):
    table, good = torch.randn(4, 4), torch.tensor([3, 0, 2, 1])
    program = Program(nn.Identity(), make(use), [table, good])
    torch.testing.assert_close(program([], table, good), make(use)(table, good))
    for row, bad in ((0, 4), (3, 1000), (0, -5), (2, -1)):
        index = good.clone()
        index[row] = bad
        try:
            eager = make(use)(table, index)
        except (IndexError, RuntimeError):
            with pytest.raises(pyvae.TraceError, match="out of range"):
                program([], table, index)
        else:
            torch.testing.assert_close(program([], table, index), eager)


def test_what_is_ignored_may_be_any_number(interpreted):
    logits, target = torch.randn(3, 4), torch.tensor([1, -100, 3])
    program = Program(nn.Identity(), functional.cross_entropy, [logits, target])
    torch.testing.assert_close(program([], logits, target), functional.cross_entropy(logits, target))


def test_masks_are_no_indices(interpreted):
    def masked(table, mask):
        table = table.clone()
        table[mask] = 0.0
        return table

    table, mask = torch.randn(4, 4), torch.tensor([True, False, True, False])
    torch.testing.assert_close(Program(nn.Identity(), masked, [table, mask])([], table, mask), masked(table, mask))


@pytest.mark.slow
def test_a_label_out_of_range_in_a_compiled_run_is_an_error_and_no_abort():
    """On several threads and on large batches, where the check of the compiled code itself ends the process."""
    program = """
import torch
from torch.utils.data import DataLoader, TensorDataset
import pyvae
from pyvae import guides, likelihoods, networks, priors

torch.set_num_threads(2)
vae = pyvae.VAE(
    prior=priors.StandardNormal(2),
    likelihood=likelihoods.Normal(networks.MLP(12, 64, [8]), event_shape=64),
    posterior=guides.DiagonalNormal(networks.MLP(74, 4, [8]), event_shape=2),
    context=networks.OneHot(10),
)
x, y = torch.randn(4096, 64), torch.randint(10, (4096,))
y[3000] = 11
try:
    pyvae.fit(vae, DataLoader(TensorDataset(x, y), batch_size=512), compile=True, epochs=1, seed=0, progress=False)
except pyvae.DataError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "labels lie in [0, 11]; expected [0, 9], for num_classes=10 in epoch 1, batch 6\n"
