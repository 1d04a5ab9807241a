"""With the compiler itself: few tests, as each compilation takes seconds."""

import copy

import pyro
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn
from torch.utils.data import DataLoader

import pyvae
from tests.compilation.comparing import assert_same, compiled_results, eager_results
from tests.compilation.pairs import WIDTH, Annealed, ByHand, Layers
from tests.compilation.training_runs import assert_close, run

ROWS = 40


class Everything(Layers):
    """Batch statistics, dropout, a buffer that grows, a plain tensor, and labels."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.tensor(0.1))
        self.factor = torch.ones(())
        self.embedding = nn.Embedding(3, WIDTH)

    def scale(self):
        return self.weight

    def decode(self, z):
        return super().decode(z) * self.factor

    def model(self, x, y):
        super().model(x)

    def guide(self, x, y):
        self.weight.mul_(1.1).clamp_(max=1.0)
        super().guide(x + self.embedding(y))


def batch(rows=ROWS):
    return torch.randn(rows, WIDTH), torch.arange(rows) % 3


def test_the_compiled_pair():
    """Loss, gradients, buffers, stream, what is read anew, and fresh draws: of one compilation."""
    pair, objective = Everything(), Trace_ELBO(max_plate_nesting=1)
    twin, compiled = copy.deepcopy(pair), pyvae.compile(pair, Trace_ELBO())
    for seed in range(3):
        args = batch()
        assert_same(
            compiled_results(compiled, *args, seed=seed), eager_results(twin, objective, *args, seed=seed), 1e-5
        )
        assert_close(pair, twin)
        for each in (pair, twin):
            with torch.no_grad():
                each.decoder[0].weight.mul_(1.5)
                each.weight.fill_(0.2)
                each.factor.mul_(1.5)
    pyro.set_rng_seed(0)
    args = batch()
    losses = torch.stack([compiled(*args).detach() for _ in range(300)])
    assert len(losses.unique()) > 290  # float32 sums of 40 rows may fall on each other, draws do not


def test_a_compiled_run_and_its_resumption(tmp_path):
    """Equal to an eager run, and to the bit when stopped; the data leave a smaller last batch."""
    data = torch.randn(ROWS, WIDTH)
    arguments = {"batch_size": 9, "clip_norm": 5.0, "optimizer": lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1)}
    eager, history, _ = run(Annealed, data, False, epochs=4, **arguments)
    whole, whole_history, said = run(Annealed, data, True, epochs=4, **arguments)
    assert not said
    assert_close(whole, eager, 1e-4)
    losses, whole_losses = ([row["train_loss"] for row in h] for h in (history, whole_history))
    assert whole_losses == pytest.approx(losses, rel=1e-5)
    run(Annealed, data, True, epochs=2, checkpoint_dir=tmp_path, **arguments)
    resumed, resumed_history, _ = run(Annealed, data, True, epochs=4, checkpoint_dir=tmp_path, resume=True, **arguments)
    assert resumed_history == whole_history
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name


@pytest.mark.slow
def test_bfloat16():
    x = torch.randn(ROWS, WIDTH)
    _, history, said = run(ByHand, x, True, precision="bf16-mixed")
    _, expected, _ = run(ByHand, x, False)
    assert not said
    assert history[-1]["train_loss"] == pytest.approx(expected[-1]["train_loss"], rel=0.02)


def test_batches_with_gaps_in_memory():
    x = torch.randn(ROWS, 2 * WIDTH)
    loader = DataLoader(list(x), batch_size=8, collate_fn=lambda rows: torch.stack(rows)[:, ::2])
    eager, _, _ = run(ByHand, loader, False)
    traced, _, _ = run(ByHand, loader, True)
    assert_close(traced, eager, 1e-4)
