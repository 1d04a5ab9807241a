"""States of quantizers as pyvae wrote them before 0.1."""

import copy

import pytest
import torch

import pyvae
from pyvae.checkpoint import write_tensors
from pyvae.quantizers import ResidualQuantizer, VectorQuantizer
from tests.truth.quantizers import with_codebook


def older(state):
    """As pyvae wrote it when the counts and the vectors of the statistics were buffers of their own."""
    names = {"averages": ("counts", "sums"), "pending": ("noted_counts", "noted_sums")}
    names["pending_rows"] = ("noted_weights", "noted_rows")
    written = {}
    for name, tensor in state.items():
        prefix, _, last = name.rpartition(".")
        prefix = prefix and prefix + "."
        if last in names:
            written |= {prefix + names[last][0]: tensor[:, 0], prefix + names[last][1]: tensor[:, 1:]}
        else:
            written[prefix + {"pending_checksum": "noted_step"}.get(last, last)] = tensor
    return written


@pytest.mark.parametrize("settings", [{}, {"revive_below": 0.9}])
def test_a_state_of_the_older_layout_goes_on_as_if_it_were_of_this_one(settings):
    weights, z = torch.randn(3), torch.randn(4, 20, 3)
    one, other = (with_codebook(torch.randn(6, 3), decay=0.9, **settings) for _ in range(2))
    one.advance([weights])
    one.update(z[0], one(z[0]).codes)
    written = older(one.state_dict())
    assert len(written) == (8 if settings else 6)
    assert len(one.state_dict()) == (5 if settings else 4)
    kept = dict(written)
    other.load_state_dict(written)
    assert written.keys() == kept.keys()
    for _ in range(2):  # the second sees a step
        for quantizer in (one, other):
            torch.manual_seed(1)
            quantizer.advance([weights])
            quantizer.update(z[1], quantizer(z[1]).codes)
        assert all(map(torch.equal, one.buffers(), other.buffers()))
        weights = weights + 1
    with pytest.raises(RuntimeError, match="size mismatch for averages"):
        with_codebook(torch.randn(7, 3), decay=0.9, **settings).load_state_dict(written)


@pytest.mark.parametrize("levels", [1, 2])
def test_a_file_of_the_older_layout_is_read(levels, tmp_path):
    levels = [VectorQuantizer(6, 4, decay=0.9, revive_below=0.5) for _ in range(levels)]
    quantizer = levels[0] if len(levels) == 1 else ResidualQuantizer(levels)
    pair = pyvae.recipes.vqvae((5,), channels=[4], quantizer=quantizer)
    x = torch.rand(20, 5).round()
    pyvae.fit(pair, x, epochs=2, seed=0, progress=False)
    path = tmp_path / "model.safetensors"
    write_tensors(path, older(pair.state_dict()), {"kind": "pair", "recipe": None})
    other = copy.deepcopy(pair)
    for tensor in (*other.parameters(), *other.buffers()):
        tensor.data.zero_()
    pyvae.load(path, other)
    assert all(torch.equal(a, b) for a, b in zip(pair.buffers(), other.buffers(), strict=True))
    assert torch.equal(pair.encode(x), other.encode(x))
