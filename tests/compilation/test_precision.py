"""bf16-mixed: products in bfloat16; parameters, gradients, densities, sums and losses in float32."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import pyvae
from pyvae import recipes
from pyvae.training.precision import computed_in
from tests.compilation.pairs import WIDTH, ByHand, Chain, vae
from tests.compilation.training_runs import run

CPU = torch.device("cpu")
ROWS = 40


def wide():
    return recipes.gaussian((64,), 8, [32])


def convolutional():
    return recipes.convolutional((1, 8, 8), 4, [4, 8])


class Products(TorchDispatchMode):
    """Notes in which precision matrix products and convolutions are computed."""

    def __init__(self):
        super().__init__()
        self.dtypes = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if any(name in str(function) for name in ("addmm", "aten.mm", "convolution")):
            self.dtypes |= {a.dtype for a in args if isinstance(a, torch.Tensor)}
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("make", "shape"), [(wide, (64,)), (convolutional, (1, 8, 8))])
def test_products_take_bfloat16_and_all_else_is_float32(make, shape):
    pair, x = make(), torch.rand(6, *shape).round()
    with computed_in("bf16-mixed", CPU), Products() as products:
        guide = poutine.trace(pair.guide).get_trace(x)
        model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(x)
        for trace in (guide, model):
            trace.compute_log_prob()
    assert products.dtypes == {torch.bfloat16}
    for trace, names in ((guide, "z"), (model, "zx")):
        for name in names:
            site = trace.nodes[name]
            assert site["value"].dtype == site["log_prob"].dtype == site["log_prob_sum"].dtype == torch.float32
            assert all(p.dtype == torch.float32 for p in parameters_of(site["fn"]))


def parameters_of(distribution):
    while hasattr(distribution, "base_dist"):
        distribution = distribution.base_dist
    return [getattr(distribution, name) for name in distribution.arg_constraints if name in vars(distribution)]


def test_log_densities_are_as_exact_as_in_float32():
    """Of the same parameters: the sum over many pixels has not lost its digits to bfloat16."""
    logits, x = torch.randn(8, 784), torch.rand(8, 784).round()
    bernoulli = pyro.distributions.Bernoulli(logits=logits)
    with computed_in("bf16-mixed", CPU):
        value = bernoulli.log_prob(x).sum()
    exact = torch.distributions.Bernoulli(logits=logits.double()).log_prob(x.double()).sum()
    assert float(value) == pytest.approx(float(exact), rel=1e-5)


def test_float32_is_left_alone():
    with computed_in("32-true", CPU), Products() as products:
        recipes.gaussian((64,), 8, [32]).guide(torch.rand(6, 64))
    assert products.dtypes == {torch.float32}


def test_the_block_ends():
    with computed_in("bf16-mixed", CPU):
        pass
    assert not torch.is_autocast_enabled("cpu")
    assert not any(isinstance(m, TorchFunctionMode) for m in torch.overrides._get_current_function_mode_stack())


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize(
    ("make", "shape"),
    [(wide, (64,)), (convolutional, (1, 8, 8)), (ByHand, (WIDTH,)), (Chain, (WIDTH,)), (vae, (WIDTH,))],
)
def test_training(interpreted, make, shape, compile):
    """Everything that remains is float32, and the loss is that of float32 to two hundredths."""
    x = torch.rand(ROWS, *shape).round()
    arguments = {"optimizer": lambda p: torch.optim.Adam(p, 1e-3), "objective": Trace_ELBO()}
    _, history, _ = run(make, x, False, **arguments)
    pair, mixed, said = run(make, x, compile, precision="bf16-mixed", **arguments)
    assert not said
    assert len(interpreted) == compile
    assert all(p.dtype == torch.float32 for p in pair.parameters())
    for row, mixed_row in zip(history, mixed, strict=True):
        assert mixed_row["train_loss"] == pytest.approx(row["train_loss"], rel=0.02)
        assert mixed_row["train_loss"] != row["train_loss"]  # or nothing was computed in bfloat16


def test_gradients_are_float32(interpreted):
    dtypes = []

    class Watching(torch.optim.SGD):
        def step(self, closure=None):
            dtypes.extend(p.grad.dtype for g in self.param_groups for p in g["params"])
            return super().step(closure)

    for compile in (False, True):
        run(wide, torch.rand(ROWS, 64).round(), compile, precision="bf16-mixed", optimizer=lambda p: Watching(p, 1e-4))
    assert set(dtypes) == {torch.float32}


def test_compiled_steps_equal_eager_ones(interpreted):
    """The recording holds the casts."""
    x = torch.rand(ROWS, 64).round()
    arguments = {"precision": "bf16-mixed", "objective": TraceMeanField_ELBO(), "epochs": 2}
    _, eager, _ = run(wide, x, False, **arguments)
    _, traced, _ = run(wide, x, True, **arguments)
    assert [r["train_loss"] for r in traced] == pytest.approx([r["train_loss"] for r in eager], rel=1e-3)
    converted = torch.ops.aten._to_copy.default
    assert converted in interpreted[0]


@pytest.mark.parametrize("precision", ["16-mixed", "bf16", 32, None, ""])
def test_other_precisions_are_refused(precision):
    with pytest.raises(pyvae.ArgumentError, match="expected one of 32-true, bf16-mixed"):
        pyvae.fit(ByHand(), torch.randn(ROWS, WIDTH), epochs=1, precision=precision, progress=False)


def test_a_resumed_run_keeps_its_precision(interpreted, tmp_path):
    x = torch.rand(ROWS, 64).round()
    run(wide, x, False, epochs=1, checkpoint_dir=tmp_path)
    with pytest.raises(pyvae.CheckpointError, match="precision is bf16-mixed now and was 32-true"):
        run(wide, x, False, epochs=2, checkpoint_dir=tmp_path, resume=True, precision="bf16-mixed")


def test_networks_of_in_place_operations():
    """A result in bfloat16 that is made float32 is a copy: what is changed in place must be it."""
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    x = torch.randn(6, 4)
    with computed_in("bf16-mixed", CPU):
        mixed = network(x)
    torch.testing.assert_close(mixed, network(x), rtol=0.02, atol=0.02)
    assert mixed.dtype == torch.float32
