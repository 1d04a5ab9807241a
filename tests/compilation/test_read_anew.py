"""What may change between two calls of a compiled pair, and is then not missed."""

import copy

import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import nn

import pyvae
from tests.compilation.comparing import assert_same, compiled_results, eager_results
from tests.compilation.pairs import WIDTH, ByHand, Layers

pytestmark = pytest.mark.filterwarnings("ignore:.*was not registered in the param store:UserWarning")


class Adjustable(ByHand):
    """A pair with state of every kind."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(WIDTH, 8), nn.Tanh(), nn.Linear(8, WIDTH))
        self.register_buffer("shift", torch.zeros(WIDTH))
        self.tensor = torch.ones(())
        self.number = 1.0
        self.entries = {"factors": [1.0, 2.0]}
        self.link = lambda z: z

    def scale(self):
        return self.number

    def encode(self, x):
        return super().encode(x + self.shift) * self.tensor

    def decode(self, z):
        return super().decode(self.link(z)) * self.entries["factors"][0]


def _with_link(factor):
    return lambda z: factor * z


def _in_place(tensor, value):
    with torch.no_grad():
        tensor.fill_(value)


#: what is done to the pair, and whether it is traced again
CHANGES = {
    "parameter in place": (lambda p: _in_place(p.decoder.weight, 0.7), 0),
    "parameter's data replaced": (lambda p: setattr(p.decoder.weight, "data", torch.full((WIDTH, 2), 0.3)), 0),
    "parameter replaced": (lambda p: setattr(p.decoder, "bias", nn.Parameter(torch.full((WIDTH,), 3.0))), 0),
    "buffer in place": (lambda p: _in_place(p.shift, 0.5), 0),
    "buffer replaced": (lambda p: setattr(p, "shift", torch.full((WIDTH,), 0.4)), 0),
    "plain tensor in place": (lambda p: _in_place(p.tensor, 2.0), 0),
    "plain tensor replaced": (lambda p: setattr(p, "tensor", torch.tensor(3.0)), 1),
    "number": (lambda p: setattr(p, "number", 0.25), 1),
    "number in a list in a dict": (lambda p: p.entries["factors"].__setitem__(0, 5.0), 1),
    "function": (lambda p: setattr(p, "link", _with_link(2.0)), 1),
    "method": (lambda p: setattr(p, "decode", lambda z: p.decoder(z) + 1.0), 1),
    "train to eval": (lambda p: p.eval(), 1),
    "part to eval": (lambda p: p.encoder.eval(), 1),
    "requires_grad off": (lambda p: p.decoder.weight.requires_grad_(False), 1),
    "float64": (lambda p: p.double(), 1),
    "parameter of another shape": (lambda p: setattr(p.encoder, "0", nn.Linear(WIDTH, 8, bias=False)), 1),
}


def test_every_kind_of_change(interpreted):
    for name, (change, again) in CHANGES.items():
        pair, x = Adjustable(), torch.randn(6, WIDTH)
        compiled = pyvae.compile(pair, Trace_ELBO(max_plate_nesting=1))
        before, _ = compiled_results(compiled, x)
        traces = len(interpreted)
        change(pair)
        x = x.to(pair.shift.dtype)
        results = compiled_results(compiled, x)
        assert_same(results, eager_results(pair, Trace_ELBO(max_plate_nesting=1), x))
        assert len(interpreted) - traces == again, name
        still = ("train to eval", "part to eval", "requires_grad off")  # of loss, in a pair without dropout
        assert name in still or float(results[0]) != float(before), name


def test_nothing_is_traced_again_when_nothing_changed(interpreted):
    compiled = pyvae.compile(Layers())
    for _ in range(5):
        compiled(torch.randn(6, WIDTH)).backward()
    assert len(interpreted) == 1


def test_modes_are_traced_once_each(interpreted):
    """Dropout and batch statistics in both modes, to and fro."""
    pair, x = Layers(), torch.randn(6, WIDTH)
    compiled, twin = pyvae.compile(pair, Trace_ELBO(max_plate_nesting=1)), copy.deepcopy(pair)
    for mode in (True, False, True, False, True):
        pair.train(mode), twin.train(mode)
        results = compiled_results(compiled, x)
        assert_same(results, eager_results(twin, Trace_ELBO(max_plate_nesting=1), x))
    assert len(interpreted) == 2


def test_gradients_come_and_go_with_requires_grad(interpreted):
    pair, x = ByHand(), torch.randn(6, WIDTH)
    compiled = pyvae.compile(pair)
    for wanted in (False, True):
        pair.encoder.requires_grad_(wanted)
        _, gradients = compiled_results(compiled, x)
        assert (gradients["encoder.weight"] is not None) == wanted
        assert gradients["decoder.weight"] is not None


def test_batches_of_every_size_and_layout(interpreted):
    pair = ByHand()
    compiled = pyvae.compile(pair, Trace_ELBO(max_plate_nesting=1))
    for x in (torch.randn(6, WIDTH), torch.randn(2, WIDTH), torch.randn(WIDTH, 6).T, torch.randn(6, 2 * WIDTH)[:, ::2]):
        assert_same(compiled_results(compiled, x), eager_results(pair, Trace_ELBO(max_plate_nesting=1), x))
    assert len(interpreted) == 4


def test_a_plain_tensor_that_is_counted_up_in_place(interpreted):
    class Counting(ByHand):
        def __init__(self):
            super().__init__()
            self.runs = torch.zeros(())

        def encode(self, x):
            self.runs.add_(1)
            return super().encode(x) * self.runs

    pair, x = Counting(), torch.randn(6, WIDTH)
    compiled = pyvae.compile(pair, Trace_ELBO(max_plate_nesting=1))
    compiled(x)
    runs = float(pair.runs)
    results = compiled_results(compiled, x)
    assert pair.runs == runs + 1
    pair.runs.fill_(runs)
    assert_same(results, eager_results(pair, Trace_ELBO(max_plate_nesting=1), x))


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(
            read,
            id=name,
        )
        for name, read in {"float": float, "tolist": torch.Tensor.tolist, "if": lambda t: 1.0 if t > 0 else 2.0}.items()
    ],
)
def test_a_plain_tensor_read_as_a_number_is_followed_or_refused(interpreted, read):
    pair, x = Adjustable(), torch.randn(6, WIDTH)
    pair.scale = lambda: read(pair.tensor)
    try:
        compiled = pyvae.compile(pair, Trace_ELBO(max_plate_nesting=1))
        compiled(x)
        pair.tensor.fill_(-3.0)
        results = compiled_results(compiled, x)
    except pyvae.TraceError:
        return
    assert_same(results, eager_results(pair, Trace_ELBO(max_plate_nesting=1), x))


def test_a_module_that_takes_another_ones_place(interpreted):
    pair, x = Adjustable(), torch.randn(6, WIDTH)
    compiled = pyvae.compile(pair, Trace_ELBO(max_plate_nesting=1))
    compiled(x)
    pair.encoder[1] = nn.Sigmoid()
    assert_same(compiled_results(compiled, x), eager_results(pair, Trace_ELBO(max_plate_nesting=1), x))


def test_an_object_at_the_address_of_another(interpreted):
    """Objects that were deleted since leave their address, and so their id, to others."""
    pair, x = Adjustable(), torch.randn(6, WIDTH)
    compiled = pyvae.compile(pair, Trace_ELBO(max_plate_nesting=1))
    for factor in range(20):
        del pair.link
        pair.link = _with_link(float(factor))
        assert_same(compiled_results(compiled, x), eager_results(pair, Trace_ELBO(max_plate_nesting=1), x))
