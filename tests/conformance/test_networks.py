"""What every network must do: act on the last dimensions, under any leading ones."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from pyvae import networks
from pyvae.networks import MLP, AnyLeadingDims, ConvDecoder, ConvEncoder, Features, OneHot

leading_dims = st.lists(st.integers(1, 3), max_size=3).map(tuple)
channels = st.lists(st.integers(1, 4), min_size=1, max_size=3)
images = st.tuples(st.integers(1, 3), st.integers(3, 13), st.integers(3, 13))


def test_every_network_is_tested_here():
    here = {"MLP", "AnyLeadingDims", "ConvDecoder", "ConvEncoder", "Features", "OneHot"}
    in_test_time_networks = {"TimeEmbedding", "TimeMLP", "UNet"}
    in_test_diffusion_schedules = {"CosineNoise", "LearnedNoise", "LinearNoise"}
    assert set(networks.__all__) == here | in_test_time_networks | in_test_diffusion_schedules


@given(leading=leading_dims)
def test_features_come_from_coarse_to_fine_and_see_the_context(leading):
    features = Features([MLP((1, 4, 4), 6, context_dim=2), MLP(6, 5, context_dim=2), MLP(5, 3, context_dim=2)])
    x, context = torch.randn(*leading, 1, 4, 4), torch.randn(*leading, 2)
    outputs = features(x, context)
    assert [o.shape for o in outputs] == [(*leading, n) for n in (3, 5, 6)]
    first, second, third = features.stages
    assert torch.equal(outputs[0], third(second(first(x, context), context), context))


@settings(max_examples=30, deadline=None)
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
    ],
    ids=["MLP", "ConvEncoder", "ConvDecoder"],
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
