"""Quantizers against other libraries, under Pyro, and at their limits."""

import copy
import itertools
import subprocess
import sys

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.nn import functional as F

import pyvae
from pyvae.quantizers import FiniteScalarQuantizer, ResidualQuantizer, VectorQuantizer
from pyvae.quantizers.quantizer import checksum
from tests.truth.quantizers import brute_force, one_step, with_codebook


def test_initialization_is_k_means_and_follows_torchs_seed():
    centres = 10 * torch.randn(8, 4)
    z = (centres[torch.arange(400) % 8] + 0.1 * torch.randn(400, 4)).view(20, 20, 4)
    z[0, 0] = float("nan")
    for decay, cosine in itertools.product((None, 0.9), (False, True)):
        books = []
        for seed in (3, 3, 4):
            quantizer = VectorQuantizer(8, 4, decay=decay, cosine=cosine)
            torch.manual_seed(seed)
            quantizer.initialize(z)
            books.append(quantizer.codebook.detach().clone())
        assert torch.equal(books[0], books[1])
        u = F.normalize(z.flatten(0, 1)[1:], dim=-1) if cosine else z.flatten(0, 1)[1:]
        assert (u - books[0][brute_force(u, books[0])]).norm(dim=-1).max() < 1
        if decay:
            assert quantizer.counts.sum() == 399
    with pytest.raises(pyvae.DataError, match="399 finite vectors; expected at least num_codes=400"):
        VectorQuantizer(400, 4).initialize(z)
    residual = ResidualQuantizer([VectorQuantizer(8, 4, decay=0.9) for _ in range(2)])
    residual.initialize(z)
    errors = [
        (vectors - z[1:]).square().sum() for vectors in (residual.levels[0](z[1:]).vectors, residual(z[1:]).vectors)
    ]
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("shape", [(5, 16), (2, 7, 16), (3, 4, 5, 16)])
def test_codes_and_vectors_equal_those_of_vector_quantize_pytorch(cosine, shape):
    peer = pytest.importorskip("vector_quantize_pytorch")
    theirs = peer.VectorQuantize(16, 50, use_cosine_sim=cosine, rotation_trick=False, commitment_weight=1.0).eval()
    ours = with_codebook(theirs.codebook, cosine=cosine, commitment=1.0, decay=0.8)
    z = torch.randn(shape, requires_grad=True)
    quantized = ours(z)
    flat = z.detach().view(1, -1, 16)
    vectors, codes, _ = theirs(flat)
    assert torch.equal(quantized.codes.view(1, -1), codes)
    torch.testing.assert_close(quantized.vectors.view(1, -1, 16), vectors)
    theirs.train()
    ema = theirs(flat.requires_grad_())[2]
    torch.testing.assert_close(quantized.loss.mean() / 16, ema.squeeze(), rtol=1e-4, atol=1e-6)


def test_averages_equal_those_of_vector_quantize_pytorch():
    """Apart from the peer's smoothing, which moves codes without members."""
    peer = pytest.importorskip("vector_quantize_pytorch")
    theirs = peer.VectorQuantize(4, 6, decay=0.8, eps=1e-12, rotation_trick=False)
    ours = with_codebook(theirs.codebook, decay=0.8)
    ours.counts.copy_(theirs._codebook.cluster_size.view(-1))
    ours.sums.copy_(theirs._codebook.embed_avg.view(6, 4))
    for _ in range(5):
        z = torch.randn(1, 60, 4)
        with torch.no_grad():
            theirs(z)
        one_step(ours, z)
        torch.testing.assert_close(ours.codebook, theirs.codebook, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("levels", [[8, 5, 5, 5], [3], [7, 6, 5, 4], [8, 8, 8, 5, 5, 5]])
def test_finite_scalars_equal_those_of_vector_quantize_pytorch(levels):
    peer = pytest.importorskip("vector_quantize_pytorch")
    theirs, ours = peer.FSQ(levels), FiniteScalarQuantizer(levels)
    z = (3 * torch.randn(5, 100, len(levels))).requires_grad_()
    quantized = ours(z)
    vectors, codes = theirs(z)
    assert torch.equal(quantized.codes, codes.long())
    torch.testing.assert_close(quantized.vectors, vectors)
    weights = torch.randn_like(vectors)
    mine, other = (torch.autograd.grad((v * weights).sum(), z)[0] for v in (quantized.vectors, vectors))
    torch.testing.assert_close(mine, other)


def test_every_finite_scalar_code_is_the_code_of_its_vector():
    quantizer = FiniteScalarQuantizer([8, 5, 3, 4])
    codes = torch.arange(quantizer.num_codes)
    vectors = quantizer.embed(codes)
    assert len(vectors.unique(dim=0)) == quantizer.num_codes == 480
    reach = (quantizer.levels - 1) * (1 + 1e-3) / 2
    offset = (1 - quantizer.levels % 2) / 2
    z = torch.atanh((vectors * quantizer.widths + offset) / reach) - torch.atanh(offset / reach)
    assert torch.equal(quantizer(z).codes, codes)
    assert quantizer(torch.zeros(4)).vectors.tolist() == [0] * 4
    assert not quantizer(z).loss.any()


def test_residual_levels_are_quantizers_of_what_is_left():
    books = [torch.randn(9, 4) / 2**level for level in range(3)]
    quantizer = ResidualQuantizer([with_codebook(b, decay=0.0, commitment=0.5) for b in books])
    z = torch.randn(40, 4, requires_grad=True)
    rest, total, loss = z, 0, 0
    quantized = quantizer(z)
    quantizer.update(z, quantized.codes)
    for level, book in enumerate(books):
        k = brute_force(rest, book)
        assert torch.equal(quantized.codes[:, level], k)
        loss = loss + 0.5 * (rest - book[k]).square().sum(-1)
        means = torch.zeros(9, 4).index_add_(0, k, rest.detach()) / k.bincount(minlength=9).clamp(min=1)[:, None]
        books[level] = torch.where(k.bincount(minlength=9)[:, None] > 0, means, book)
        rest, total = rest - book[k], total + book[k]
    torch.testing.assert_close(quantized.vectors, total)
    torch.testing.assert_close(quantized.loss, loss)
    ours, theirs = (torch.autograd.grad(v.sum(), z, retain_graph=True)[0] for v in (quantized.loss, loss))
    torch.testing.assert_close(ours, theirs)
    quantizer.advance()
    for level, book in zip(quantizer.levels, books, strict=True):
        torch.testing.assert_close(level.codebook, book)


class Pair(nn.Module):
    """A VQ-VAE as the docstring of Quantizer tells to write it."""

    def __init__(self, quantizer):
        super().__init__()
        self.encoder, self.decoder, self.quantizer, self.runs = nn.Linear(6, 4), nn.Linear(4, 6), quantizer, 0

    def model(self, x):
        pyro.module("pair", self)
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(self.quantizer.num_codes)))
            z = pyro.sample("z", dist.Delta(self.quantizer.embed(k), event_dim=1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("pair", self)
        self.runs += 1
        self.quantizer.advance(self.parameters())
        z_e = self.encoder(x)
        quantized = self.quantizer(z_e)
        self.quantizer.update(z_e, quantized.codes)
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Delta(quantized.codes))
            pyro.sample("z", dist.Delta(quantized.vectors, event_dim=1))
            pyro.factor("vq_loss", quantized.loss, has_rsample=True)


@pytest.mark.parametrize(
    ("objective", "runs"),
    [
        (Trace_ELBO(), 4),
        (Trace_ELBO(num_particles=3), 12),
        (Trace_ELBO(num_particles=3, vectorize_particles=True), 5),
        (TraceMeanField_ELBO(num_particles=2), 8),
    ],
)
def test_averages_move_once_per_step_of_pyro_however_often_it_runs_the_guide(objective, runs):
    pair, x = Pair(with_codebook(torch.randn(5, 4), decay=0.7)), torch.randn(4, 32, 6)
    e, counts, sums = (b.clone() for b in (pair.quantizer.codebook, pair.quantizer.counts, pair.quantizer.sums))
    # of its own, as the first step of an objective runs the guide once more
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), copy.deepcopy(objective))
    for batch in x:
        z = pair.encoder(batch).detach()
        assert np.isfinite(svi.step(batch))
        torch.testing.assert_close(pair.quantizer.codebook, e)
        k = brute_force(z, e)
        counts = 0.7 * counts + 0.3 * k.bincount(minlength=5)
        sums = 0.7 * sums + 0.3 * torch.zeros(5, 4).index_add_(0, k, z)
        e = torch.where(k.bincount(minlength=5)[:, None] > 0, sums / counts[:, None], e)
    assert pair.runs == runs


def test_the_checksum_sees_a_change_of_one_bit():
    tensors = [torch.randn(1000), torch.randn(7, 3).double(), torch.ones(5).bfloat16(), torch.zeros(())]
    before = checksum(tensors)
    assert before.dtype == torch.int64
    assert checksum(tensors) == before
    for tensor in tensors:
        flat = tensor.view(-1)
        was = flat[-1].clone()
        flat[-1] = torch.nextafter(was, torch.full_like(was, 1e3))
        assert checksum(tensors) != before
        flat[-1] = was
    with pytest.raises(pyvae.ArgumentError, match="watched is empty"):
        checksum([])


def test_counts_are_exact_beyond_the_integers_of_float32():
    quantizer = with_codebook(torch.zeros(1, 1), decay=0.0)
    z = torch.ones(2**24 + 4, 1)
    quantizer.update(z, torch.zeros(len(z), dtype=torch.int64))
    assert quantizer.pending[0, 0].item() == 2**24 + 4


def test_search_takes_bounded_memory():
    """10⁵ vectors and 4096 codes have 1.6 GB of distances."""
    script = (
        "import resource, torch; from pyvae.quantizers.quantizer import nearest_codes; z = torch.randn(100_000, 8); "
        "e = torch.randn(4096, 8); nearest_codes(z[:2000], e); peak = lambda: "
        "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = peak(); nearest_codes(z, e); "
        "print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 200e6


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: VectorQuantizer(0, 3), "num_codes is 0"),
        (lambda: VectorQuantizer(4, 3.0), "dim is 3.0"),
        (lambda: VectorQuantizer(4, 3, code_dim=0), "code_dim is 0"),
        (lambda: VectorQuantizer(4, 3, commitment=-1), "commitment is -1"),
        (lambda: VectorQuantizer(4, 3, decay=1.0), "decay is 1.0"),
        (lambda: VectorQuantizer(4, 3, decay="0.9"), "decay is '0.9'"),
        (lambda: VectorQuantizer(4, 3, revive_below=1.0), "without decay"),
        (lambda: VectorQuantizer(4, 3, decay=0.9, revive_below=0), "revive_below is 0"),
        (lambda: FiniteScalarQuantizer([]), "levels is"),
        (lambda: FiniteScalarQuantizer(5), "levels is 5"),
        (lambda: FiniteScalarQuantizer([5, 2]), r"levels\[1\] is 2"),
        (lambda: FiniteScalarQuantizer([1000] * 22), "less than 2"),
        (lambda: ResidualQuantizer([]), "none"),
        (lambda: ResidualQuantizer([nn.Linear(2, 2)]), "Linear"),
        (lambda: ResidualQuantizer([VectorQuantizer(4, 3, code_dim=2)]), "without code_dim"),
        (lambda: ResidualQuantizer([VectorQuantizer(4, 3), VectorQuantizer(5, 3)]), "one num_codes and dim"),
        (lambda: ResidualQuantizer([VectorQuantizer(4, 3)] * 2), "different ones"),
    ],
)
def test_bad_arguments_are_told(make, told):
    with pytest.raises(pyvae.ArgumentError, match=told):
        make()
