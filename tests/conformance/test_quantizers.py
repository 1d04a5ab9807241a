"""What every quantizer must do."""

import copy

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.nn import functional as F

import pyvae
from pyvae.core.torch_internals import trace_graph
from pyvae.quantizers import FiniteScalarQuantizer, Quantized, ResidualQuantizer, SoftmaxQuantizer, VectorQuantizer

from .components import QUANTIZERS

DIM, CODES = 3, 7
MAKERS = {
    "gradient": lambda: VectorQuantizer(CODES, DIM),
    "averages": lambda: VectorQuantizer(CODES, DIM, decay=0.9),
    "revival": lambda: VectorQuantizer(CODES, DIM, decay=0.9, revive_below=0.95),
    "cosine": lambda: VectorQuantizer(CODES, DIM, cosine=True),
    "cosine-averages": lambda: VectorQuantizer(CODES, DIM, cosine=True, decay=0.9, revive_below=0.95),
    "low": lambda: VectorQuantizer(CODES, DIM, code_dim=2, cosine=True),
    "low-averages": lambda: VectorQuantizer(CODES, DIM, code_dim=2, decay=0.9),
    "scalars": lambda: FiniteScalarQuantizer([8, 5, 3]),
    "softmax": lambda: SoftmaxQuantizer(CODES, DIM),
    "residual": lambda: ResidualQuantizer([VectorQuantizer(CODES, DIM) for _ in range(2)]),
    "residual-averages": lambda: ResidualQuantizer([VectorQuantizer(CODES, DIM, decay=0.9) for _ in range(3)]),
}
every_quantizer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def state(quantizer):
    return {name: t.clone() for name, t in (*quantizer.named_parameters(), *quantizer.named_buffers())}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[n], b[n]) for n in a)


def train(quantizer, batches=3):
    for _ in range(batches):
        z_e = torch.randn(20, DIM, dtype=next(t.dtype for t in state(quantizer).values() if t.is_floating_point()))
        quantizer.advance()
        quantizer.update(z_e, quantizer(z_e).codes)


def test_all_quantizers_are_here():
    assert {type(make()) for make in MAKERS.values()} == set(QUANTIZERS)


@every_quantizer
@pytest.mark.parametrize("leading", [(), (4,), (2, 4), (3, 2, 4, 5)])
def test_shapes_under_leading_dims(make, leading):
    quantizer = make()
    quantized = quantizer(torch.randn(*leading, DIM))
    assert isinstance(quantized, Quantized)
    assert quantized.codes.shape == quantizer.code_shape(leading)
    assert quantized.codes.dtype == torch.int64
    assert 0 <= quantized.codes.min() <= quantized.codes.max() < quantizer.num_codes
    assert quantized.vectors.shape == (*leading, DIM)
    assert quantized.loss.shape == leading
    assert quantizer.embed(quantized.codes).shape == (*leading, DIM)
    assert (quantized.loss >= 0).all()


@every_quantizer
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_vectors_are_those_of_the_codes_to_the_last_bit(make, dtype):
    quantizer = make().to(dtype)
    train(quantizer)
    z_e = (10 * torch.randn(6, 50, DIM, dtype=dtype)).requires_grad_()
    quantized = quantizer(z_e)
    assert torch.equal(quantized.vectors, quantizer.embed(quantized.codes))
    assert torch.equal(quantized.vectors[2:4], quantizer.embed(quantized.codes[2:4]))
    assert quantized.vectors.requires_grad
    assert not quantizer.embed(quantized.codes).requires_grad
    assert quantized.vectors.dtype == quantized.loss.dtype == dtype


@every_quantizer
def test_the_gradient_passes_straight_through(make):
    """The derivative is that of what is compared with the codes: the identity, where z_e itself is compared."""
    quantizer, z_e = make().double(), torch.randn(DIM, dtype=torch.float64)

    def compared(z):
        if isinstance(quantizer, FiniteScalarQuantizer):
            return quantizer._bounded(z) / quantizer.widths
        if isinstance(quantizer, ResidualQuantizer) or getattr(quantizer, "project_in", None) is None:
            return F.normalize(z, dim=-1) if getattr(quantizer, "cosine", False) else z
        low = quantizer.project_in(z)
        return quantizer.project_out(F.normalize(low, dim=-1) if quantizer.cosine else low)

    found = jacobian(lambda z: quantizer(z).vectors, z_e)
    torch.testing.assert_close(found, jacobian(compared, z_e))
    if quantizer.__class__ is VectorQuantizer and not quantizer.cosine and quantizer.project_in is None:
        assert torch.equal(found, torch.eye(DIM).double())


@every_quantizer
def test_vectors_send_no_gradient_to_the_codebook_and_the_loss_does(make):
    quantizer = make()
    z_e = torch.randn(9, DIM, requires_grad=True)
    quantizer(z_e).vectors.square().sum().backward()
    books = [p for n, p in quantizer.named_parameters() if n.endswith("codebook")]
    assert all(p.grad is None or not p.grad.any() for p in books)
    assert all(p.grad.any() for n, p in quantizer.named_parameters() if n.startswith("project"))
    loss = quantizer(z_e.detach().requires_grad_()).loss.sum()
    if loss.requires_grad:
        loss.backward()
    assert all(p.grad.any() for p in books)
    assert len(books) == {"gradient": 1, "cosine": 1, "low": 1, "residual": 2}.get(_name(make), 0)


def _name(make):
    return next(name for name, other in MAKERS.items() if other is make)


@every_quantizer
def test_calls_and_evaluation_change_no_state(make):
    quantizer = make()
    train(quantizer)
    z_e = torch.randn(20, DIM)
    before, stream = state(quantizer), torch.random.get_rng_state()
    codes = quantizer(z_e).codes
    quantizer.embed(codes)
    assert same(before, state(quantizer))
    quantizer.eval()
    quantizer.advance(quantizer.parameters())
    quantizer.update(z_e, codes)
    quantizer.advance()
    quantizer.commit(None)
    assert same(before, state(quantizer))
    quantizer.train()
    with torch.no_grad():
        quantizer.advance(quantizer.parameters())
        quantizer.update(z_e, codes)
        quantizer.advance()
        quantizer.commit(None)
    assert same(before, state(quantizer))
    assert torch.equal(stream, torch.random.get_rng_state())


@every_quantizer
def test_training_changes_what_learns_by_averages_and_only_that(make):
    quantizer = make()
    before = state(quantizer)
    train(quantizer)
    assert same(before, state(quantizer)) != quantizer.ema


@every_quantizer
def test_averages_move_once_per_step_and_not_between_guide_and_model(make):
    """Two steps, in which the guide runs once, end where two steps end, in which it runs five times."""
    ends, batches = [], torch.randn(3, 20, DIM)
    original = make()
    for runs in (1, 5):
        quantizer, weights = copy.deepcopy(original), torch.nn.Parameter(torch.zeros(4))
        for z_e in batches:
            torch.manual_seed(0)
            for _ in range(runs):
                quantizer.advance([weights])
                quantized = quantizer(z_e)
                stream = torch.random.get_rng_state()
                quantizer.update(z_e, quantized.codes)
                torch.random.set_rng_state(stream)
                assert torch.equal(quantizer.embed(quantized.codes), quantized.vectors)
            with torch.no_grad():
                weights[1].add_(1e-7)
        ends.append(state(quantizer))
    assert same(*ends)
    assert same(ends[0], state(original)) != quantizer.ema


@every_quantizer
def test_state_dict_round_trips(make):
    quantizer, other = make(), make()
    train(quantizer)
    other.load_state_dict(copy.deepcopy(quantizer.state_dict()))
    assert same(state(quantizer), state(other))
    assert same(state(quantizer), state(copy.deepcopy(quantizer)))
    for one in (quantizer, other):
        torch.manual_seed(1)
        train(one)
    assert same(state(quantizer), state(other))


@every_quantizer
def test_moves_to_another_device(make):
    quantizer = copy.deepcopy(make()).to("meta")
    train_on = torch.randn(5, DIM, device="meta")
    quantized = quantizer(train_on)
    quantizer.advance()
    quantizer.update(train_on, quantized.codes)
    assert quantized.vectors.device.type == "meta"


@every_quantizer
def test_a_step_can_be_recorded(make):
    """The recording, made without values, changes buffers as the original does."""
    quantizer, weights, (first, second) = make(), torch.zeros(4), torch.randn(2, 20, DIM)
    tensors = state(quantizer)

    def step(state, z_e, weights):
        module = Step(quantizer)
        return torch.func.functional_call(module, {f"quantizer.{n}": t for n, t in state.items()}, (z_e, weights))

    recorded = trace_graph(step, tensors, torch.zeros(20, DIM), weights)
    assert same(tensors, state(quantizer))
    for z_e in (first, second):
        weights = weights + 1
        torch.manual_seed(2)
        expected = Step(quantizer)(z_e, weights)
        torch.manual_seed(2)
        with torch.no_grad():  # as a recording that holds its backward pass is run
            results = recorded(tensors, z_e, weights)
        for ours, theirs in zip(results, expected, strict=True):
            assert torch.equal(ours, theirs)
        assert same(tensors, state(quantizer))


class Step(torch.nn.Module):
    def __init__(self, quantizer):
        super().__init__()
        self.quantizer = quantizer

    def forward(self, z_e, weights):
        self.quantizer.advance([weights])
        quantized = self.quantizer(z_e)
        self.quantizer.update(z_e, quantized.codes)
        return quantized.codes, quantized.vectors, quantized.loss


@every_quantizer
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_gives_codes_and_poisons_nothing(make, bad):
    quantizer = make()
    z_e = torch.randn(20, DIM)
    z_e[3, 1] = bad
    z_e[4] = bad
    codes = quantizer(z_e).codes
    assert 0 <= codes.min() <= codes.max() < quantizer.num_codes
    assert torch.equal(codes[5:], quantizer(z_e[5:]).codes)
    quantizer.update(z_e, codes)
    quantizer.advance()
    assert all(t.isfinite().all() for t in state(quantizer).values())
    before = state(quantizer)
    everything = torch.full((20, DIM), bad)
    quantizer.update(everything, quantizer(everything).codes)
    quantizer.advance()
    assert all(torch.equal(t, before[n]) for n, t in state(quantizer).items() if "pending" not in n)


@every_quantizer
def test_wrong_shapes_are_told(make):
    quantizer = make()
    with pytest.raises(pyvae.errors.PairError, match=rf"\(5, 4\); expected \(\.\.\., {DIM}\)"):
        quantizer(torch.zeros(5, DIM + 1))
    with pytest.raises(pyvae.errors.PairError, match="vectors of shape"):
        quantizer(torch.tensor(1.0))
    if quantizer.ema:
        with pytest.raises(pyvae.errors.PairError, match="codes of shape"):
            quantizer.update(torch.zeros(5, DIM), torch.zeros(4, dtype=torch.int64))


@every_quantizer
def test_repr_names_it(make):
    assert repr(make()).startswith(type(make()).__name__)
