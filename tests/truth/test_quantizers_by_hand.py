"""Quantizers number by number: the formulas of their docstrings in plain Python, and what their errors say."""

import math

import pytest
import torch
from torch import nn

from pyvae.errors import ArgumentError, PairError
from pyvae.quantizers import FiniteScalarQuantizer, ResidualQuantizer, SoftmaxQuantizer, VectorQuantizer
from pyvae.quantizers.quantizer import checksum
from tests.truth.quantizers import with_codebook


def finite_scalar(z, level):
    """b(z) and its derivative."""
    reach, offset = 1.001 * (level - 1) / 2, 0.0 if level % 2 else 0.5
    inner = math.tanh(z + math.atanh(offset / reach))
    return reach * inner - offset, reach * (1 - inner**2)


@pytest.mark.parametrize("levels", [[3], [4], [8, 5], [6, 7, 3]])
def test_finite_scalars_and_their_derivatives(levels):
    quantizer = FiniteScalarQuantizer(levels).double()
    z_e = (2 * torch.randn(50, len(levels), dtype=torch.float64)).requires_grad_()
    quantized = quantizer(z_e)
    (slopes,) = torch.autograd.grad(quantized.vectors.sum(), z_e)
    for row, code, vector, slope in zip(z_e.tolist(), quantized.codes, quantized.vectors, slopes, strict=True):
        bounded = [finite_scalar(z, level) for z, level in zip(row, levels, strict=True)]
        widths = [level // 2 for level in levels]
        digits = [round(b) + w for (b, _), w in zip(bounded, widths, strict=True)]
        assert int(code) == sum(d * math.prod(levels[:i]) for i, d in enumerate(digits))
        assert vector.tolist() == pytest.approx([(d - w) / w for d, w in zip(digits, widths, strict=True)], abs=1e-15)
        assert slope.tolist() == pytest.approx([s / w for (_, s), w in zip(bounded, widths, strict=True)], rel=1e-12)
    assert quantized.loss.tolist() == [0.0] * 50
    assert quantized.loss.dtype == quantized.vectors.dtype == torch.float64
    assert not quantizer.state_dict()  # all of it is told by the levels


def test_as_many_codes_as_fit_into_63_bits():
    assert FiniteScalarQuantizer([4] * 31).num_codes == 2**62
    for levels in ([8] * 21, [4] * 32):
        told = rf"^levels is \[{levels[0]}.*\], which makes {math.prod(levels)} codes; expected less than 2\*\*63$"
        with pytest.raises(ArgumentError, match=told):
            FiniteScalarQuantizer(levels)
    assert FiniteScalarQuantizer().num_codes == 1000
    assert FiniteScalarQuantizer((3,)).num_codes == 3


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_probabilities_of_softmax_codes(dim, temperature):
    quantizer = SoftmaxQuantizer(5, dim, temperature).double()
    z_e = torch.randn(2, 4, dim, dtype=torch.float64)
    quantized = quantizer(z_e)
    for place in [(i, j) for i in range(2) for j in range(4)]:
        weights = [
            math.exp(-math.fsum((a - b) ** 2 for a, b in zip(z_e[place].tolist(), e, strict=True)) / temperature)
            for e in quantizer.embedding.weight.tolist()
        ]
        expected = [w / math.fsum(weights) for w in weights]
        assert quantized.posterior.probs[place].tolist() == pytest.approx(expected)
        best = max(range(5), key=expected.__getitem__)
        assert int(quantized.codes[place]) == best
        assert torch.equal(quantized.vectors[place], quantizer.embedding.weight[best])
    assert quantized.loss.tolist() == [[0.0] * 4] * 2
    assert SoftmaxQuantizer(5, dim).temperature == 1


def test_code_vectors_that_were_drawn_have_a_gradient():
    quantizer, codes = SoftmaxQuantizer(4, 2), torch.tensor([1, 3, 1])
    chosen = quantizer.chosen(codes)
    assert torch.equal(chosen, quantizer.embedding.weight[codes])
    chosen.sum().backward()
    assert quantizer.embedding.weight.grad.tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]
    assert not quantizer.embed(codes).requires_grad


def test_averages_follow_the_dtype_of_32_bits_and_more():
    quantizer = with_codebook(torch.randn(4, 3), decay=0.9, revive_below=0.5)
    for dtype, expected in ((torch.float64, torch.float64), (torch.float32, torch.float32)):
        quantizer.to(dtype)
        assert quantizer.averages.dtype == quantizer.pending.dtype == quantizer.pending_rows.dtype == expected
    quantizer.to(torch.bfloat16)
    assert quantizer.averages.dtype == torch.float32


def test_moving_one_module_alone_and_to_a_device_without_memory():
    quantizer = VectorQuantizer(4, 3, decay=0.9, code_dim=2)
    quantizer._apply(lambda t: t.double(), recurse=False)
    assert (quantizer.averages.dtype, quantizer.project_in.weight.dtype) == (torch.float64, torch.float32)
    quantizer.to("meta", torch.bfloat16)
    assert {b.device.type for b in quantizer.buffers()} == {"meta"}
    half = FiniteScalarQuantizer([4, 5]).bfloat16()
    assert half(torch.randn(3, 2).bfloat16()).vectors.dtype == torch.bfloat16


def test_states_of_the_older_layout_that_are_not_whole_are_left_alone():
    quantizer = VectorQuantizer(4, 3, decay=0.9)
    state = {"counts": torch.full((4,), 257.0), "sums": torch.ones(4, 3).bfloat16()}
    quantizer.renew_state(state, "")
    assert state["averages"].tolist() == [[257.0, 1.0, 1.0, 1.0]] * 4  # which has no digit for 257 in 16 bits
    for broken in (
        {"counts": torch.ones(4)},
        {"sums": torch.ones(4, 3)},
        {"counts": torch.ones(3), "sums": torch.ones(4, 3)},
    ):
        kept = dict(broken)
        quantizer.renew_state(broken, "")
        assert broken.keys() == kept.keys()


def test_a_checksum_sees_both_parts_of_complex_numbers():
    z = torch.tensor([1 + 2j, 3 - 1j])
    sums = {int(checksum([t])) for t in (z, z + 1e-6, z + 1e-6j)}
    assert len(sums) == 3
    expected = sum(torch.tensor([1.0, 2.0, 3.0, -1.0]).view(torch.int32).tolist())
    assert int(checksum([z])) == expected
    with pytest.raises(ArgumentError, match=r"^watched is empty; expected the tensors that the optimizer changes$"):
        checksum([])


def test_codes_of_another_number_of_levels():
    quantizer = ResidualQuantizer([VectorQuantizer(4, 3, decay=0.9) for _ in range(2)])
    with pytest.raises(ValueError, match="shorter"):
        quantizer.embed(torch.zeros(5, 1, dtype=torch.int64))
    with pytest.raises(PairError, match=r"^ResidualQuantizer was given codes of shape \(5, 1\); expected \(5, 2\)$"):
        quantizer.update(torch.zeros(5, 3), torch.zeros(5, 1, dtype=torch.int64))


def test_scales_count_and_length_of_a_new_codebook():
    """Uniform over ±1 / K, each counted once."""
    for kwargs in ({}, {"decay": 0.9}):
        quantizer = VectorQuantizer(50, 8, **kwargs)
        assert 0.9 / 50 < quantizer.codebook.detach().max() <= 1 / 50
        assert -1 / 50 <= quantizer.codebook.detach().min() < -0.9 / 50
    assert quantizer.counts.tolist() == [1.0] * 50
    assert torch.equal(quantizer.sums, quantizer.codebook)
    assert not quantizer.pending.any()
    assert (int(quantizer.pending_checksum), quantizer.pending_checksum.dtype) == (0, torch.int64)
    torch.testing.assert_close(VectorQuantizer(6, 4, cosine=True).codebook.norm(dim=-1), torch.ones(6))
    small = VectorQuantizer(6, 4, code_dim=2)
    assert (small.codebook.shape, small.project_in.weight.shape, small.project_out.weight.shape) == (
        (6, 2),
        (2, 4),
        (4, 2),
    )


def test_what_they_say_of_themselves():
    assert repr(FiniteScalarQuantizer([8, 5])) == "FiniteScalarQuantizer(levels=[8, 5])"
    told = "num_codes=6, dim=4, commitment=0.5, decay=0.9, cosine=True, revive_below=None"
    assert VectorQuantizer(6, 4, commitment=0.5, decay=0.9, cosine=True).extra_repr() == told
    assert SoftmaxQuantizer(3, 2, 0.5).extra_repr() == "temperature=0.5"
    assert VectorQuantizer(6, 4).commitment == 0.25


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FiniteScalarQuantizer([]), r"levels is \[\]; expected a list of ints, such as \[8, 5, 5, 5\]"),
        (lambda: FiniteScalarQuantizer(5), "levels is 5; expected a list of ints"),
        (lambda: FiniteScalarQuantizer([5, 2]), r"levels\[1\] is 2; expected an int of at least 3"),
        (lambda: SoftmaxQuantizer(0, 3), "num_codes is 0"),
        (lambda: SoftmaxQuantizer(4, 0), "dim is 0"),
        (lambda: SoftmaxQuantizer(4, 3, 0), "temperature is 0"),
        (lambda: VectorQuantizer(0, 3), "num_codes is 0"),
        (lambda: VectorQuantizer(4, 3, code_dim=0), "code_dim is 0"),
        (lambda: VectorQuantizer(4, 3, commitment=-1), "commitment is -1"),
        (lambda: VectorQuantizer(4, 3, decay=True), r"decay is True; expected a number in \[0, 1\), or None"),
        (lambda: VectorQuantizer(4, 3, decay=-0.1), r"decay is -0.1; expected a number in \[0, 1\), or None"),
        (lambda: VectorQuantizer(4, 3, decay=1), r"decay is 1; expected a number in \[0, 1\), or None"),
        (lambda: VectorQuantizer(4, 3, revive_below=1.0), "revive_below is 1.0 without decay: it looks at"),
        (lambda: VectorQuantizer(4, 3, decay=0.9, revive_below=0), "revive_below is 0"),
        (lambda: ResidualQuantizer([]), "quantizers are none; expected VectorQuantizers without code_dim"),
        (lambda: ResidualQuantizer([VectorQuantizer(4, 3), nn.ReLU()]), "quantizers are VectorQuantizer, ReLU; expec"),
        (
            lambda: ResidualQuantizer([VectorQuantizer(5, 3), VectorQuantizer(4, 3)]),
            r"quantizers have \(num_codes, dim\) \[\(4, 3\), \(5, 3\)\]; expected different ones of one num_codes",
        ),
    ],
)
def test_what_their_errors_say(make, told):
    with pytest.raises(ArgumentError, match=f"^{told}"):
        make()
