"""What the networks of a step must do, besides what every network must: see test_networks.py."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.func import functional_call

from pyvae.core.torch_internals import trace_graph
from pyvae.errors import ArgumentError, DataError
from pyvae.networks import TimeEmbedding, TimeMLP, UNet

CLASSES = 3


def make_mlp(shape=(2, 3), **arguments):
    return TimeMLP(shape, **{"hidden": [6, 6, 5], "time_dim": 8, "num_classes": CLASSES} | arguments)


def make_unet(shape=(2, 5, 6), **arguments):
    sizes = {"channels": [4, 6], "groups": 2, "time_dim": 8, "num_classes": CLASSES}
    network = UNet(shape, **sizes | arguments)
    return perturbed(network)


def perturbed(network):
    """With another last convolution than zero, so that the output depends on what came before."""
    torch.nn.init.normal_(network.image.network.head.weight)
    return network


MAKERS = {
    "TimeMLP": make_mlp,
    "TimeMLP to another shape": lambda **a: make_mlp(out_shape=(4, 1), **a),
    "UNet": make_unet,
    "UNet with attention": lambda **a: make_unet(attention=True, blocks=2, out_channels=3, **a),
    "UNet of one level": lambda **a: make_unet(channels=[4], **a),
}
of_each_network = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("t", [torch.tensor(3), torch.tensor([0, 7]), torch.rand(2, 1, 3)])
def test_embedding_is_a_perceptron_of_sines(t):
    embedding = TimeEmbedding(6).double()
    angles = [[float(s) * 10000 ** (-2 * k / 6) for k in range(3)] for s in t.flatten()]
    sines = torch.tensor([[f(a) for f in (math.sin, math.cos) for a in row] for row in angles], dtype=torch.double)
    expected = embedding.layers(sines).reshape(*t.shape, 6)
    torch.testing.assert_close(embedding(t), expected, rtol=1e-9, atol=1e-9)


def test_embedding_in_half_precision_tells_late_steps_apart():
    embedding = TimeEmbedding(8).bfloat16()
    late, later = embedding(torch.tensor([998, 999]))
    assert late.dtype == torch.bfloat16
    assert not torch.equal(late, later)


@of_each_network
@settings(max_examples=8)
@given(leading=st.lists(st.integers(1, 3), max_size=3).map(tuple))
def test_leading_dims_are_a_batch(make, leading):
    network = make()
    x, t = torch.randn(*leading, *network.in_shape), torch.randint(1000, leading)
    y = torch.randint(CLASSES + 1, leading)
    together = network(x, t, y)
    assert together.shape == (*leading, *network.out_shape)
    flat = zip(x.reshape(-1, *network.in_shape), t.reshape(-1), y.reshape(-1), strict=True)
    alone = torch.stack([network(*one) for one in flat])
    close(together, alone.reshape(together.shape))


@of_each_network
def test_step_and_label_broadcast(make):
    network = make()
    x = torch.randn(3, 4, *network.in_shape)
    t, y = torch.randint(1000, (4,)), torch.tensor(1)
    close(network(x, t, y), network(x, t.expand(3, 4), y.expand(3, 4)))
    close(network(x, t[0], y), network(x, t[0].expand(3, 4), y.expand(3, 4)))
    close(network(x, t.float(), y.int()), network(x, t, y))


@of_each_network
def test_each_datum_has_its_own_step_and_label(make):
    network = make()
    x, t = torch.randn(4, *network.in_shape), torch.tensor([0, 10, 500, 999])
    y, order = torch.tensor([0, 1, 2, 3]), torch.tensor([2, 0, 3, 1])
    close(network(x[order], t[order], y[order]), network(x, t, y)[order])
    same = x[:1].expand_as(x)
    for outputs in (network(same, t, y[0]), network(same, t[0], y), network(same, t)):
        assert not any(torch.allclose(outputs[0], o, rtol=1e-6, atol=0) for o in outputs[1:])


@of_each_network
def test_no_label_is_the_last_row(make):
    network = make()
    x, t = torch.randn(4, *network.in_shape), torch.randint(1000, (4,))
    close(network(x, t), network(x, t, torch.full((4,), CLASSES)))
    assert not torch.allclose(network(x, t), network(x, t, torch.zeros(4, dtype=torch.long)))


@of_each_network
def test_gradients_reach_every_parameter_in_double_precision(make):
    network = make().double()
    x = torch.randn(4, *network.in_shape, dtype=torch.double)
    output = network(x, torch.tensor([0, 10, 500, 999]), torch.tensor([0, 1, 2, 3]))
    assert output.dtype == torch.double
    output.square().sum().backward()
    missed = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-9]
    assert not missed
    assert network.conditioning.labels.weight.grad.abs().sum(1).gt(0).all()


@of_each_network
def test_state_dict_is_all_there_is(make):
    first, second = make(), make()
    x, t = torch.randn(4, *first.in_shape), torch.tensor(3)
    assert not torch.allclose(first(x, t), second(x, t))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x, t), second(x, t))


@of_each_network
def test_calls_and_gradients_are_traced(make, float64):
    network = make()
    parameters = dict(network.named_parameters())

    def gradients(values, x, t, y):
        def loss(*inputs):
            return functional_call(network, values, inputs).square().sum()

        both = loss(x, t, y) + loss(x, t)
        return [both, *torch.autograd.grad(both, list(values.values()))]

    def inputs():
        return torch.randn(4, *network.in_shape), torch.randint(1000, (4,)), torch.randint(CLASSES, (4,))

    graph = trace_graph(gradients, parameters, *inputs())
    again = inputs()
    for traced, eager in zip(graph(parameters, *again), gradients(parameters, *again), strict=True):
        close(traced, eager)


@pytest.mark.parametrize("size", [(7, 7), (14, 14), (28, 28), (5, 9), (1, 1), (1, 6)])
@pytest.mark.parametrize("levels", [1, 2, 4])
def test_images_of_any_size(size, levels):
    network = make_unet((1, *size), channels=[4, 6, 8, 8][:levels], attention=True)
    x, t = torch.randn(2, 1, *size), torch.tensor(3)
    assert network(x, t).shape == x.shape
    assert network(x[0], t).isfinite().all()


def test_unet_is_zero_at_first():
    network = UNet((1, 7, 7), channels=[4, 6], groups=2, time_dim=8)
    assert not network(torch.randn(3, 1, 7, 7), torch.tensor(3)).any()


def test_groups_adapt_to_channels():
    network = make_unet(channels=[4, 6, 10], groups=8)
    normalizations = [m for m in network.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert all(n.num_groups == math.gcd(8, n.num_channels) for n in normalizations)
    assert network(torch.randn(3, 2, 5, 6), torch.tensor(3)).isfinite().all()


@of_each_network
def test_labels_need_classes(make):
    network = make(num_classes=None)
    x, t = torch.randn(4, *network.in_shape), torch.tensor(3)
    assert network(x, t).shape == (4, *network.out_shape)
    with pytest.raises(DataError, match="num_classes"):
        network(x, t, torch.zeros(4, dtype=torch.long))


@of_each_network
def test_wrong_inputs_are_refused(make):
    network = make()
    x, t = torch.randn(4, *network.in_shape), torch.zeros(4)
    with pytest.raises(ArgumentError, match=r"x has shape .*expected \(\.\.\., "):
        network(x[..., :-1], t)
    with pytest.raises(ArgumentError, match="x has shape"):
        network(x[0, 0], t)
    for wrong in (t[:, None], t[:3], t.expand(2, 4)):
        with pytest.raises(ArgumentError, match=r"t has shape .*dimensions \(4,\)"):
            network(x, wrong)
    with pytest.raises(ArgumentError, match="y has shape"):
        network(x, t, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ArgumentError, match="t is a int"):
        network(x, 3)
    for wrong in (t, t.bool(), 2):
        with pytest.raises(DataError, match="labels"):
            network(x, t, wrong)
    for label in (-1, CLASSES + 1):
        with pytest.raises(IndexError):
            network(x, t, torch.full((4,), label))


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: TimeEmbedding(5), "dim of an embedding of t is 5; expected an even int"),
        (lambda: TimeEmbedding(2), "dim of an embedding of t is 2; expected an int of at least 4"),
        (lambda: TimeEmbedding(8.0), "dim of an embedding of t is 8.0"),
        (lambda: TimeMLP(0), "in_shape is 0"),
        (lambda: TimeMLP(2, out_shape=[-1]), "out_shape is"),
        (lambda: TimeMLP(2, hidden=[]), "hidden is .*at least one width"),
        (lambda: TimeMLP(2, hidden=8), "hidden is 8"),
        (lambda: TimeMLP(2, num_classes=0), "num_classes is 0"),
        (lambda: TimeMLP(2, time_dim=7), "embedding of t is 7"),
        (lambda: UNet((28, 28)), r"in_shape \(28, 28\)"),
        (lambda: UNet(784), r"in_shape \(784,\)"),
        (lambda: UNet((1, 8, 8), channels=[]), r"channels \[\]"),
        (lambda: UNet((1, 8, 8), channels=[8, 0]), "channels is"),
        (lambda: UNet((1, 8, 8), out_channels=0), "out_channels is 0"),
        (lambda: UNet((1, 8, 8), blocks=0), "blocks is 0"),
        (lambda: UNet((1, 8, 8), groups=0), "groups is 0"),
        (lambda: UNet((1, 8, 8), num_classes=True), "num_classes is True"),
        (lambda: UNet((1, 2, 2), channels=[8, 8], groups=8), "level 1 .*one pixel"),
    ],
)
def test_wrong_arguments_are_refused(construct, message):
    with pytest.raises(ArgumentError, match=message):
        construct()
