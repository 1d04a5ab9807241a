"""What every network must do: act on the last dimensions, under any leading ones."""

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.func import functional_call

from pyvae import networks
from pyvae.core.torch_internals import trace_graph
from pyvae.errors import ArgumentError, DataError
from pyvae.networks import (
    MLP,
    AnyLeadingDims,
    CausalTransformer,
    ConvDecoder,
    ConvEncoder,
    Features,
    JoinedMaps,
    ObservedOnly,
    OneHot,
    PixelCNN,
    StridedDecoder,
    StridedEncoder,
)

leading_dims = st.lists(st.integers(1, 3), max_size=3).map(tuple)
channels = st.lists(st.integers(1, 4), min_size=1, max_size=3)
images = st.tuples(st.integers(1, 3), st.integers(3, 13), st.integers(3, 13))


def test_every_network_is_tested_here():
    here = {"MLP", "AnyLeadingDims", "ConvDecoder", "ConvEncoder", "Features", "ObservedOnly", "OneHot"}
    of_codes = {"CausalTransformer", "PixelCNN"}
    strided = {"JoinedMaps", "StridedDecoder", "StridedEncoder"}
    in_test_counts = {"LogCounts", "LogTotal", "WithoutTotal"}
    in_test_spectral_distance = {"SpectralDistance"}
    in_test_time_networks = {"TimeEmbedding", "TimeMLP", "UNet"}
    in_test_diffusion_schedules = {"CosineNoise", "LearnedNoise", "LinearNoise"}
    elsewhere = in_test_counts | in_test_time_networks | in_test_diffusion_schedules | in_test_spectral_distance
    assert set(networks.__all__) == here | of_codes | strided | elsewhere


@given(leading=leading_dims)
def test_what_is_missing_is_zero_and_told_of(leading):
    x = torch.randn(*leading, 1, 2, 3)
    missing = torch.rand_like(x) < 0.4
    seen = ObservedOnly(torch.nn.Identity(), (1, 2, 3))(x.masked_fill(missing, torch.nan))
    assert torch.equal(seen, torch.cat([x.masked_fill(missing, 0.0), 1.0 - missing.float()], -3))
    with pytest.raises(ArgumentError, match="ObservedOnly got shape"):
        ObservedOnly(torch.nn.Identity(), (2, 2, 3))(x)


@given(leading=leading_dims)
def test_features_come_from_coarse_to_fine_and_see_the_context(leading):
    features = Features([MLP((1, 4, 4), 6, context_dim=2), MLP(6, 5, context_dim=2), MLP(5, 3, context_dim=2)])
    x, context = torch.randn(*leading, 1, 4, 4), torch.randn(*leading, 2)
    outputs = features(x, context)
    assert [o.shape for o in outputs] == [(*leading, n) for n in (3, 5, 6)]
    first, second, third = features.stages
    assert torch.equal(outputs[0], third(second(first(x, context), context), context))


@settings(max_examples=30)
@given(leading=leading_dims, shape=images, context=st.integers(0, 2), widths=channels)
def test_shapes(leading, shape, context, widths):
    cases = [
        (MLP(shape, (2, 3), widths, context_dim=context), shape, (2, 3)),
        (ConvEncoder(shape, 5, widths, context_dim=context), shape, (5,)),
        (ConvDecoder(4, shape, widths, context_dim=context), (4,), shape),
    ]
    inputs = [torch.randn(*leading, context)] if context else []
    for network, before, after in cases:
        assert network(torch.randn(*leading, *before), *inputs).shape == (*leading, *after)


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (MLP((1, 6, 6), 3, context_dim=2), (1, 6, 6)),
        (ConvEncoder((1, 6, 6), 3, (2, 4), context_dim=2), (1, 6, 6)),
        (ConvDecoder(5, (2, 7, 6), (4, 2), context_dim=2), (5,)),
        (StridedEncoder((2, 7, 6), 5, (4, 3), (2, 3), context_dim=2), (2, 7, 6)),
        (StridedDecoder(5, (2, 7, 6), (4, 3), (3, 2), context_dim=2), (5, 2, 1)),
        (StridedEncoder((1, 29), 5, (4, 3), (2, 4), (1, 3), context_dim=2), (1, 29)),
    ],
    ids=["MLP", "ConvEncoder", "ConvDecoder", "StridedEncoder", "StridedDecoder", "of signals"],
)
def test_leading_dims_are_a_batch_and_context_broadcasts(network, shape):
    x, c = torch.randn(3, 4, *shape), torch.randn(4, 2)
    together = network(x, c)
    for i in range(3):
        for j in range(4):
            alone = network(x[i, j], c[j])
            torch.testing.assert_close(together[i, j], alone, rtol=1e-4, atol=1e-5)
    network.zero_grad()
    together.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


strides = st.lists(st.integers(2, 4), min_size=1, max_size=2)


@settings(max_examples=30)
@given(leading=leading_dims, image=images, signal=st.booleans(), strides=strides, context=st.integers(0, 2))
def test_strided_networks_cover_all_of_the_data_by_their_grid(leading, image, signal, strides, context):
    shape, arguments = image[:2] if signal else image, ([3] * len(strides), strides, [1, 2], context, torch.nn.SiLU)
    encoder, decoder = StridedEncoder(shape, 5, *arguments), StridedDecoder(5, shape, *arguments)
    inputs = [torch.randn(*leading, context)] if context else []
    x = torch.randn(*leading, *shape, requires_grad=True)
    z = encoder(x, *inputs)
    grid = [math.ceil(size / math.prod(strides)) for size in shape[1:]]
    assert z.shape == (*leading, 5, *grid)
    assert decoder(z, *inputs).shape == (*leading, *shape)
    z.square().sum().backward()
    assert (x.grad != 0).all()


@pytest.mark.parametrize(
    ("shape", "channels", "strides", "match"),
    [
        ((8,), [4], [2], "shape is"),
        ((1, 2, 3, 4), [4], [2], "shape is"),
        ((1, 8), [4], [2, 2], "as many"),
        ((1, 8), [4], [1], "from 2"),
        ((1, 8), [], [], "as many"),
    ],
)
@pytest.mark.parametrize(
    "make", [lambda s, *a: StridedEncoder(s, 5, *a), lambda s, *a: StridedDecoder(5, s, *a)], ids=["encoder", "decoder"]
)
def test_strided_networks_refuse(shape, channels, strides, match, make):
    with pytest.raises(ArgumentError, match=match):
        make(shape, channels, strides)


def test_networks_of_grids_refuse_other_shapes():
    cases = [
        (StridedEncoder((1, 8, 8), 5), (1, 9, 9)),
        (StridedDecoder(5, (1, 8, 8)), (5, 3, 3)),
        (JoinedMaps(2, 3, 5, (4, 4)), (3, 4, 4)),
    ]
    for network, shape in cases:
        with pytest.raises(ArgumentError, match=f"{type(network).__name__} got shape"):
            network(*[torch.zeros(2, *shape)] * (2 if isinstance(network, JoinedMaps) else 1))


@given(leading=leading_dims, context=st.booleans())
def test_joined_maps_bring_the_coarse_to_the_fine(leading, context):
    network = MLP((5, 4, 6), (2,), context_dim=3) if context else None
    joined = JoinedMaps(2, 3, 5, (4, 6), network)
    fine, coarse = torch.randn(*leading, 2, 4, 6), torch.randn(3, 2, 3)
    weight, bias = joined.joined.network.linear.weight, joined.joined.network.linear.bias
    stretched = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2).expand(*leading, -1, -1, -1)
    maps = torch.einsum("oc,...cij->...oij", weight, torch.cat([fine, stretched], -3)) + bias[:, None, None]
    if context:
        c = torch.randn(*leading, 3)
        torch.testing.assert_close(joined(fine, coarse, c), network(maps, c), rtol=1e-4, atol=1e-5)
    else:
        torch.testing.assert_close(joined(fine, coarse), maps, rtol=1e-4, atol=1e-5)


def test_any_leading_dims_broadcasts_inputs():
    class Sum(torch.nn.Module):
        def forward(self, x, c):
            assert x.dim() == 4
            assert c.dim() == 2
            return x.sum((1, 2, 3)) + c.sum(1)

    network = AnyLeadingDims(Sum(), [3, 1])
    x, c = torch.randn(5, 2, 1, 2, 2), torch.randn(2, 3)
    torch.testing.assert_close(network(x, c), x.sum((-1, -2, -3)) + c.sum(-1))


def test_one_hot_agrees_with_torch():
    y = torch.randint(0, 7, (3, 4))
    assert torch.equal(OneHot(7)(y), torch.nn.functional.one_hot(y, 7).float())


def code_networks():
    """Networks over grids of five codes, and the shapes of their context."""
    vector, grid = {"context_dim": 3}, {"context_channels": 2}
    for shape in ((4, 3), (7,), (1, 5), (1,)):
        for context in ({}, vector, grid, vector | grid):
            shapes = [(3,)] * ("context_dim" in context) + [(2, *shape)] * ("context_channels" in context)
            yield PixelCNN(shape, 5, channels=16, layers=3, **context), shapes
        for context in ({}, vector):
            yield CausalTransformer(shape, 5, dim=8, heads=2, **context), [(3,)] * bool(context)
    yield PixelCNN((4, 6), 5, channels=16, layers=2, kernel_size=5), []
    yield CausalTransformer((2, 3, 2), 5, dim=6, heads=3, layers=1), []


of_each_code_network = pytest.mark.parametrize(
    ("network", "context"),
    [
        pytest.param(n, c, id=f"{type(n).__name__}-{tuple(n.shape)}-{len(c)}-{i}")
        for i, (n, c) in enumerate(code_networks())
    ],
)


@of_each_code_network
@settings(max_examples=5)
@given(leading=leading_dims)
def test_code_networks_take_leading_dims_as_a_batch_and_broadcast(network, context, leading):
    codes = torch.randint(5, (*leading, 2, *network.shape))
    inputs = [torch.randn(2, *c) for c in context]
    together = network(codes, *inputs)
    assert together.shape == (*leading, 2, *network.shape, 5)
    for row in range(2):
        alone = network(codes[..., row, *[slice(None)] * len(network.shape)], *(i[row] for i in inputs))
        start = len(leading)
        torch.testing.assert_close(together.select(start, row), alone, rtol=1e-4, atol=1e-5)


@of_each_code_network
def test_code_networks_have_gradients_in_double_precision(network, context):
    inputs = [torch.randn(8, *c, dtype=torch.double, requires_grad=True) for c in context]
    try:
        network.double().zero_grad()
        output = network(torch.randint(5, (8, *network.shape)), *inputs)
        assert output.dtype == torch.double
        output.sin().sum().backward()
        touched = {n for n, p in network.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
        if network.shape.numel() > 1:  # a lone code is told from nothing
            assert touched == {n for n, _ in network.named_parameters()}
        assert all(i.grad.abs().max() > 0 for i in inputs)
    finally:
        network.float()


@of_each_code_network
def test_code_networks_are_traced(network, context):
    parameters = dict(network.named_parameters())

    def gradients(values, *inputs):
        loss = functional_call(network, values, inputs).square().sum()
        return [loss, *torch.autograd.grad(loss, list(values.values()), allow_unused=True, materialize_grads=True)]

    def inputs():
        return torch.randint(5, (2, *network.shape)), *(torch.randn(2, *c) for c in context)

    graph = trace_graph(gradients, parameters, *inputs())
    again = inputs()
    for traced, eager in zip(graph(parameters, *again), gradients(parameters, *again), strict=True):
        torch.testing.assert_close(traced, eager, rtol=1e-4, atol=1e-5)


@of_each_code_network
def test_state_of_code_networks_is_all_there_is(network, context):
    import copy

    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1)
    inputs = torch.randint(5, (2, *network.shape)), *(torch.randn(2, *c) for c in context)
    assert not torch.equal(other(*inputs), network(*inputs))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(*inputs), network(*inputs))


def test_codes_and_context_of_wrong_shapes_are_refused():
    pixels = PixelCNN((4, 3), 5, channels=4, layers=1, context_dim=3, context_channels=2)
    codes, vector, grid = torch.zeros(6, 4, 3, dtype=torch.long), torch.zeros(3), torch.zeros(2, 4, 3)
    assert pixels(codes.int(), vector, grid).shape == (6, 4, 3, 5)
    for wrong in (
        *[(codes[:, :3], vector, grid), (codes[0, 0], vector, grid), (codes, vector), (codes, grid, vector)],
        *[(codes, vector, grid[:1]), (codes, vector, grid, grid), (codes, vector, 2)],
    ):
        with pytest.raises(
            ArgumentError, match=r"PixelCNN got .*; expected \(\.\.\., 4, 3\); \(\.\.\., 3\); \(\.\.\., 2, 4, 3\)"
        ):
            pixels(*wrong)
    with pytest.raises(ArgumentError, match=r"expected \(\.\.\., 6, 3\); \(\.\.\., 6, 2, 4, 3\)"):
        pixels.sampler(6, vector, grid)
    for network in (PixelCNN(3, 5, channels=4, layers=1), CausalTransformer(3, 5, dim=4)):
        with pytest.raises(ArgumentError, match=r"got \(3,\); \(3,\); expected \(\.\.\., 3\)"):
            network(torch.zeros(3, dtype=torch.long), vector)
        for dtype in (torch.float32, torch.bool):
            with pytest.raises(DataError, match=r"codes have dtype .*integers in \[0, 4\]"):
                network(torch.zeros(3, dtype=dtype))
        with pytest.raises(IndexError):
            network(torch.full((3,), 5))


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        (lambda: PixelCNN((2, 2, 2), 5), r"shape is \(2, 2, 2\) .*\(height, width\) or \(length,\)"),
        (lambda: PixelCNN((4, 0), 5), "shape is"),
        (lambda: PixelCNN((4, 4), 0), "num_codes is 0"),
        (lambda: PixelCNN((4, 4), 5, channels=0), "channels is 0"),
        (lambda: PixelCNN((4, 4), 5, layers=2.0), "layers is 2.0"),
        (lambda: PixelCNN((4, 4), 5, kernel_size=4), "kernel_size 4"),
        (lambda: PixelCNN((4, 4), 5, kernel_size=1), "kernel_size is 1"),
        (lambda: PixelCNN((4, 4), 5, context_dim=-1), "context_dim is -1"),
        (lambda: PixelCNN((4, 4), 5, context_channels=None), "context_channels is None"),
        (lambda: CausalTransformer(0, 5), "shape is 0"),
        (lambda: CausalTransformer(4, 5, dim=6, heads=4), "dim is 6 and heads 4"),
        (lambda: CausalTransformer(4, 5, heads=0), "heads is 0"),
        (lambda: CausalTransformer(4, 5, layers=0), "layers is 0"),
        (lambda: CausalTransformer(4, 5, context_dim=True), "context_dim is True"),
    ],
)
def test_wrong_arguments_of_code_networks_are_refused(construct, message):
    with pytest.raises(ArgumentError, match=message):
        construct()
