"""Quantizers: losses, gradients, nearest codes and exponential moving averages against formulas written by hand."""

import numpy as np
import pytest
import torch
from torch import nn

from pyvae.core.torch_internals import trace_graph
from pyvae.quantizers import ResidualQuantizer, VectorQuantizer, vector_quantizer
from pyvae.quantizers import quantizer as searching
from pyvae.quantizers.quantizer import nearest_codes
from tests.truth.quantizers import brute_force, one_step, with_codebook


@pytest.mark.parametrize("decay", [None, 0.9])
def test_loss_and_gradients_are_those_of_the_paper(decay):
    """‖sg[z_e] − e‖² + β ‖z_e − sg[e]‖² beside a decoder's loss of e, by autograd on the formulas."""
    encoder, decoder, x = nn.Linear(6, 4), nn.Linear(4, 6), torch.randn(8, 5, 6)
    quantizer = with_codebook(torch.randn(11, 4), commitment=0.3, decay=decay)
    parameters = [*encoder.parameters(), *decoder.parameters(), *quantizer.parameters()]

    quantized = quantizer(encoder(x))
    ours = (decoder(quantized.vectors) - x).square().sum() + quantized.loss.sum()

    z_e = encoder(x)
    e = quantizer.codebook[torch.cdist(z_e, quantizer.codebook).argmin(-1)]
    st = z_e + (e - z_e).detach()
    theirs = (decoder(st) - x).square().sum() + 0.3 * (z_e - e.detach()).square().sum()
    if decay is None:
        theirs = theirs + (z_e.detach() - e).square().sum()

    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert len(parameters) == (5 if decay is None else 4)
    for a, b in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_loss_is_a_figure_per_vector():
    codebook, z_e = torch.randn(5, 3), torch.randn(2, 4, 3)
    square = (z_e - codebook[brute_force(z_e, codebook)]).square().sum(-1)
    torch.testing.assert_close(with_codebook(codebook, commitment=0.5)(z_e).loss, 1.5 * square)
    torch.testing.assert_close(with_codebook(codebook, commitment=0.5, decay=0.9)(z_e).loss, 0.5 * square)
    assert not with_codebook(codebook, commitment=0, decay=0.9)(z_e).loss.any()


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize(("rows", "codes", "dim"), [(1, 1, 1), (7, 3, 2), (1000, 37, 5), (3000, 130, 64)])
@pytest.mark.parametrize("block", [1, 1000, 2**22])
def test_search_in_blocks_finds_what_brute_force_finds(rows, codes, dim, block, offset, monkeypatch):
    monkeypatch.setattr(searching, "_BLOCK", block)
    z, codebook = torch.randn(rows, dim) + offset, torch.randn(codes, dim) + offset
    assert (nearest_codes(z, codebook) == brute_force(z, codebook)).float().mean() > 0.999
    z, codebook = z.double(), codebook.double()
    assert torch.equal(nearest_codes(z, codebook), brute_force(z, codebook))


def test_search_in_blocks_can_be_recorded(monkeypatch):
    monkeypatch.setattr(searching, "_BLOCK", 70)
    z, codebook = torch.randn(50, 3), torch.randn(7, 3)
    recorded = trace_graph(nearest_codes, torch.zeros(50, 3), torch.zeros(7, 3))
    assert torch.equal(recorded(z, codebook), brute_force(z, codebook))


def test_ties_go_to_the_lower_index():
    codebook = torch.randn(10, 4).repeat(5, 1)
    assert nearest_codes(torch.randn(500, 4), codebook).max() < 10
    assert nearest_codes(torch.zeros(1), torch.tensor([[1.0], [-1.0], [1.0]])) == 0


def test_search_is_in_full_precision_under_autocast():
    z, codebook = torch.randn(2000, 8), torch.randn(300, 8)
    quantizer = with_codebook(codebook, decay=0.0)
    with torch.autocast("cpu", torch.bfloat16):
        codes = one_step(quantizer, z)
        half = quantizer(z.bfloat16())
    assert torch.equal(codes, brute_force(z, codebook))
    assert quantizer.codebook.dtype == half.vectors.dtype == torch.float32
    members = torch.bincount(codes, minlength=300)
    means = torch.zeros(300, 8).index_add_(0, codes, z) / members.clamp(min=1)[:, None]
    torch.testing.assert_close(quantizer.codebook, torch.where(members[:, None] > 0, means, codebook))


@pytest.mark.filterwarnings("ignore:.*converge")
def test_a_step_without_decay_is_a_step_of_lloyd():
    from sklearn.cluster import KMeans

    z = torch.randn(500, 6)
    codebook = z[:20].clone()
    quantizer = with_codebook(codebook, decay=0.0)
    for steps in (1, 2, 5):
        while int(quantizer.pending_checksum) < steps:
            quantizer.update(z, quantizer(z).codes)
            quantizer.commit(quantizer.pending_checksum + 1)
        lloyd = KMeans(20, init=codebook.numpy(), n_init=1, max_iter=steps, tol=0, algorithm="lloyd")
        centres = torch.from_numpy(lloyd.fit(z.numpy()).cluster_centers_)
        torch.testing.assert_close(quantizer.codebook, centres, rtol=1e-5, atol=1e-5)


def test_codes_without_members_keep_their_place():
    codebook = torch.cat([torch.randn(5, 3), torch.full((2, 3), 100.0)])
    for decay in (0.0, 0.5, 0.99):
        quantizer = with_codebook(codebook, decay=decay)
        for _ in range(2000):
            one_step(quantizer, torch.randn(10, 3))
        assert torch.equal(quantizer.codebook[5:], codebook[5:])
        assert quantizer.codebook.isfinite().all()
        z = torch.full((4, 3), 99.0)
        one_step(quantizer, z)
        torch.testing.assert_close(quantizer.codebook[5], z[0], rtol=1e-3, atol=0)


def test_averages_are_those_of_the_papers_appendix():
    decay, codebook = 0.9, torch.randn(6, 3)
    quantizer = with_codebook(codebook, decay=decay)
    e, counts, sums = codebook.double().numpy(), np.ones(6), codebook.double().numpy()
    for _ in range(30):
        z = torch.randn(2, 9, 3)
        rows = z.double().numpy().reshape(-1, 3)
        nearest = ((rows[:, None] - e) ** 2).sum(-1).argmin(-1)
        codes = one_step(quantizer, z)
        assert codes.flatten().tolist() == nearest.tolist()
        for i in range(6):
            mine = rows[nearest == i]
            counts[i] = decay * counts[i] + (1 - decay) * len(mine)
            sums[i] = decay * sums[i] + (1 - decay) * mine.sum(0)
        e = sums / counts[:, None]
        np.testing.assert_allclose(quantizer.counts.numpy(), counts, rtol=1e-5)
        np.testing.assert_allclose(quantizer.sums.numpy(), sums, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(quantizer.codebook.numpy(), e, rtol=1e-4, atol=1e-5)


def test_what_is_pending_is_taken_over_once():
    quantizer, weights = with_codebook(torch.randn(6, 3), decay=0.9), torch.zeros(3)
    z = torch.randn(20, 3)
    quantizer.update(z, quantizer(z).codes)
    quantizer.advance([weights + 1])
    after = [b.clone() for b in (quantizer.codebook, quantizer.counts, quantizer.sums)]
    quantizer.advance([weights + 2])
    quantizer.advance()
    assert all(map(torch.equal, after, (quantizer.codebook, quantizer.counts, quantizer.sums)))


def test_vectors_that_are_mapped_up_do_not_depend_on_how_many_there_are():
    quantizer = VectorQuantizer(50, 65, code_dim=33)
    codes = torch.arange(50)
    together = quantizer.embed(codes)
    assert all(torch.equal(quantizer.embed(codes[i]), together[i]) for i in range(50))
    assert torch.equal(quantizer.embed(codes[:, None, None]), together[:, None, None])


def test_averages_of_processes_are_those_of_the_whole_batch():
    """As pyvae's training takes the mean of floating point buffers between update and advance."""
    codebook, z = torch.randn(6, 3), torch.randn(10, 2, 8, 3)
    alone, parts = (
        with_codebook(codebook, decay=0.9),
        [with_codebook(codebook, decay=0.9, revive_below=1e-9) for _ in "ab"],
    )
    alone.counts.mul_(2)  # it counts the vectors of both
    alone.sums.mul_(2)
    for batch in z:
        one_step(alone, batch)
        for part, rows in zip(parts, batch, strict=True):
            part.update(rows, part(rows).codes)
        for a, b in zip(*(p.buffers() for p in parts), strict=True):
            if a.is_floating_point():
                a.copy_((a + b) / 2)
                b.copy_(a)
        for part in parts:
            part.advance()
        assert torch.equal(parts[0].codebook, parts[1].codebook)
        torch.testing.assert_close(parts[0].codebook, alone.codebook)
    torch.testing.assert_close(2 * parts[0].counts, alone.counts)


def test_revival_moves_exactly_the_dead_to_vectors_of_the_batch():
    codebook = torch.cat([torch.randn(6, 3), torch.full((4, 3), 50.0) + torch.randn(4, 3)])
    quantizer = with_codebook(codebook, decay=0.5, revive_below=0.3)
    z = torch.randn(200, 3)
    for step in range(1, 3):
        before, counts = quantizer.codebook.clone(), quantizer.counts.clone()
        members = torch.bincount(one_step(quantizer, z), minlength=10)
        dead = 0.5 * counts + 0.5 * members < 0.3
        assert dead.tolist() == [False] * 6 + [step == 2] * 4
        moved = (quantizer.codebook != before).any(-1)
        assert (moved[6:] == dead[6:]).all()
    revived = quantizer.codebook[6:]
    assert (revived[:, None] == z).all(-1).any(-1).all()
    assert len(revived.unique(dim=0)) == 4
    assert (quantizer.counts[6:] == quantizer.counts[6]).all()
    assert quantizer.counts[6] > 1
    torch.testing.assert_close(quantizer.sums, quantizer.counts[:, None] * quantizer.codebook)
    one_step(quantizer, z)
    assert torch.bincount(quantizer(z).codes, minlength=10).gt(0).all()


def test_revival_takes_no_vector_that_is_not_finite():
    quantizer = with_codebook(torch.full((4, 2), 50.0), decay=0.0, revive_below=0.5)
    z = torch.full((8, 2), float("nan"))
    z[5] = 1.0
    for _ in range(200):  # in each, one vector of eight is finite
        one_step(quantizer, z)
        assert quantizer.codebook.isfinite().all()
    assert (quantizer.codebook == 1).all()


def test_revived_codes_of_several_processes_are_vectors_of_one_of_them(monkeypatch):
    """Of as many from each process; and which process gives a vector to which code changes from step to step."""
    parts = [with_codebook(torch.full((2000, 2), 50.0), decay=0.0, revive_below=0.5) for _ in range(4)]
    givers, before = [], parts[0].codebook.clone()
    for step in range(2):
        z = torch.randn(4, 3000, 2)
        z[0, :300] = float("nan")
        for rank, (part, rows) in enumerate(zip(parts, z, strict=True)):
            monkeypatch.setattr(vector_quantizer, "_process", lambda rank=rank: (rank, 4))
            part.averages.zero_()
            part.pending_checksum.fill_(step)
            part.update(rows, torch.zeros(3000, dtype=torch.int64))
        for buffers in zip(*(p.buffers() for p in parts), strict=True):
            if buffers[0].is_floating_point():
                mean = sum(buffers) / 4
                for buffer in buffers:
                    buffer.copy_(mean)
        for part in parts:
            part.advance()
        assert all(torch.equal(part.codebook, parts[0].codebook) for part in parts)
        matches = (parts[0].codebook[1:, None] == z.flatten(0, 1)).all(-1)
        given = matches.any(-1)
        assert 0.9 < given.float().mean() < 1
        assert torch.equal(parts[0].codebook[1:][~given], before[1:][~given])
        givers.append(torch.where(given, matches.int().argmax(-1) // 3000, -1))
        assert givers[-1][given].bincount(minlength=4).min() > 400
        before = parts[0].codebook.clone()
    assert (givers[0] != givers[1])[(givers[0] >= 0) & (givers[1] >= 0)].all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_averages_are_not_rounded_to_16_bits(dtype):
    """Beyond 256, bfloat16 has only even numbers; float16 ends at 65504."""
    codebook, z = torch.randn(3, 2).to(dtype).float(), torch.randn(100, 1000, 2).to(dtype)
    half, single = (with_codebook(codebook, decay=0.99, revive_below=1.0) for _ in range(2))
    half = half.to(dtype)
    assert half.codebook.dtype == dtype
    for batch in z:
        half.update(batch, torch.arange(1000) % 2)
        single.update(batch.float(), torch.arange(1000) % 2)
        half.advance()
        single.advance()
    assert half.codebook.dtype == dtype
    assert torch.equal(half.counts, single.counts)
    assert torch.equal(half.codebook[:2], single.codebook[:2].to(dtype))
    half.update(torch.ones(70_000, 2, dtype=dtype), torch.zeros(70_000, dtype=torch.int64))
    half.advance()
    assert half.counts.dtype == torch.float32
    assert 700 < half.counts[0] < 1300
    half.initialize(z[0])
    assert half.codebook.dtype == dtype
    assert half.counts.sum() == 1000


def test_levels_of_a_residual_quantizer_learn_from_what_the_levels_before_leave_over():
    """With γ = 0 a step puts each level's codes at the means of that level's residuals."""
    books = [3 * torch.randn(4, 2), torch.randn(4, 2)]
    quantizer = ResidualQuantizer([with_codebook(book, decay=0.0) for book in books])
    residuals = torch.randn(300, 2)
    codes = one_step(quantizer, residuals)
    for level, book, k in zip(quantizer.levels, books, codes.unbind(-1), strict=True):
        assert torch.equal(k, brute_force(residuals, book))
        means = torch.stack([residuals[k == j].mean(0) if (k == j).any() else book[j] for j in range(4)])
        torch.testing.assert_close(level.codebook, means)
        residuals = residuals - book[k]
