"""VQ-VAE as a pair: its loss, gradients and codes against those written by hand."""

import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO, TraceMeanField_ELBO
from torch import nn

import pyvae
from pyvae import likelihoods, networks, priors, quantizers
from pyvae.models import VQVAE, CodePrior

BETA, CODES, DIM, GRID, WIDTH = 0.3, 6, 3, 4, 5
SCALE = math.sqrt(0.5)  # for which −log p is the squared error, up to a constant


def make(quantizer=None, prior=None, context=0):
    """Five numbers, four codes of vectors of length three."""
    decoder = networks.MLP((DIM, GRID), WIDTH, [8], context_dim=context)
    return VQVAE(
        prior=prior or priors.FactorizedCodes((GRID,), CODES, uniform=True),
        likelihood=likelihoods.Normal(decoder, WIDTH, scale=SCALE, learn_scale=False),
        encoder=networks.MLP(WIDTH, (DIM, GRID), [8], context_dim=context),
        quantizer=quantizer or quantizers.VectorQuantizer(CODES, DIM, commitment=BETA),
        context=networks.OneHot(context) if context else None,
    )


def by_hand(pair, x):
    """‖x − x̂‖² + ‖sg[z_e] − e‖² + β ‖z_e − sg[e]‖², of the batch, and the constants that the densities add."""
    z_e = pair.encoder(x).transpose(1, 2)
    codebook = pair.quantizer.codebook
    e = codebook[(z_e[..., None, :] - codebook).square().sum(-1).argmin(-1)]
    straight = z_e + (e - z_e).detach()
    squares = (x - pair.likelihood.network(straight.transpose(1, 2))).square().sum()
    losses = (z_e.detach() - e).square().sum() + BETA * (z_e - e.detach()).square().sum()
    constants = len(x) * (WIDTH / 2 * math.log(math.pi) + GRID * math.log(CODES))
    return squares + losses, constants


def gradients(pair, loss):
    pair.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in pair.named_parameters() if p.grad is not None}


@pytest.fixture
def x():
    return 2 * torch.randn(16, WIDTH)


@pytest.mark.parametrize("objective", [Trace_ELBO, TraceMeanField_ELBO])
def test_the_loss_and_every_gradient_are_those_of_the_paper(objective, x):
    pair = make()
    expected, constants = by_hand(pair, x)
    loss = objective(max_plate_nesting=1).differentiable_loss(pair.model, pair.guide, x)
    assert loss.item() == pytest.approx(expected.item() + constants, rel=1e-5)
    ours, theirs = gradients(pair, loss), gradients(pair, by_hand(pair, x)[0])
    assert set(ours) == set(theirs) == {name for name, _ in pair.named_parameters()}
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("interpreted")
def test_so_are_those_of_the_compiled_loss(x):
    pair = make()
    loss = pyvae.compile(pair, TraceMeanField_ELBO())(x)
    expected, constants = by_hand(pair, x)
    assert loss.item() == pytest.approx(expected.item() + constants, rel=1e-5)
    for (name, ours), theirs in zip(gradients(pair, loss).items(), gradients(pair, expected).values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5, msg=name)


def test_the_elbo_has_the_length_of_the_codes_and_no_training_loss(x):
    pair = make()
    estimate = pyvae.elbo(pair, x, num_particles=2)
    assert torch.allclose(estimate.kl_terms["k"], torch.tensor(GRID * math.log(CODES)).double())
    assert (estimate.kl_terms["z"] == 0).all()
    assert set(estimate.kl_terms) == {"k", "z"}
    squares = (x - pair.decode(pair.encode(x))).square().sum(-1)
    expected = -squares - WIDTH / 2 * math.log(math.pi) - GRID * math.log(CODES)
    assert torch.allclose(estimate.per_datapoint.float(), expected, rtol=1e-4)


def test_there_is_no_importance_weighted_bound(x):
    pair = make()
    with pytest.raises(pyvae.PairError, match="Delta"):
        pyvae.log_likelihood(pair, x)
    evaluation = pyvae.evaluate(pair, x, num_particles=2)
    assert evaluation.log_likelihood is None
    assert evaluation.best is evaluation.elbo
    assert torch.equal(evaluation.elbo.per_datapoint, pyvae.elbo(pair, x, num_particles=2).per_datapoint)
    bits = -evaluation.elbo.value / WIDTH / math.log(2)
    assert evaluation.figures()["bits_per_dimension"] == pytest.approx(bits)
    assert not any("log_likelihood" in name for name in evaluation.figures())


@pytest.mark.parametrize("particles", [{}, {"num_particles": 3}, {"num_particles": 3, "vectorize_particles": True}])
def test_moving_averages_move_once_in_a_step_however_often_the_guide_runs(particles, x):
    pairs = []
    for settings in ({}, particles):
        torch.manual_seed(2)
        pair = make(quantizers.VectorQuantizer(CODES, DIM, decay=0.9))
        pairs.append(pair)
        svi = SVI(pair.model, pair.guide, pyro.optim.SGD({"lr": 1e-3}), Trace_ELBO(**settings))
        before = pair.quantizer.codebook.clone()
        for _ in range(3):
            svi.step(x)
        pair.guide(x)  # takes over what is pending from the last step
        assert not torch.equal(before, pair.quantizer.codebook)
    one, many = pairs
    assert torch.allclose(one.quantizer.counts, many.quantizer.counts)
    one, many = pairs
    assert torch.allclose(one.quantizer.codebook, many.quantizer.codebook, atol=1e-4)


def test_evaluation_changes_no_codebook(x):
    pair = make(quantizers.VectorQuantizer(CODES, DIM, decay=0.9)).eval()
    before = {name: value.clone() for name, value in pair.state_dict().items()}
    for _ in range(2):
        Trace_ELBO().loss(pair.model, pair.guide, x)
        pair.encode(x)
    pyvae.elbo(pair.train(), x)
    assert all(torch.equal(value, before[name]) for name, value in pair.state_dict().items())
    assert "vq_loss" not in poutine.trace(pair.eval().guide).get_trace(x).nodes


QUANTIZERS = {
    "gradient": lambda: quantizers.VectorQuantizer(CODES, DIM),
    "averages": lambda: quantizers.VectorQuantizer(CODES, DIM, decay=0.9, revive_below=0.1),
    "cosine": lambda: quantizers.VectorQuantizer(CODES, DIM, cosine=True),
    "low-dimensional": lambda: quantizers.VectorQuantizer(CODES, DIM, code_dim=2),
    "finite scalar": lambda: quantizers.FiniteScalarQuantizer([3, 3, 3]),
    "residual": lambda: quantizers.ResidualQuantizer([quantizers.VectorQuantizer(CODES, DIM) for _ in range(2)]),
}


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize(
    ("name", "compiled"),
    [
        *((name, False) for name in QUANTIZERS),
        ("averages", True),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in QUANTIZERS if name != "averages"),
    ],
)
def test_fit_trains_every_quantizer(name, compiled, x):
    quantizer = QUANTIZERS[name]()
    shape = (GRID, 2) if name == "residual" else (GRID,)
    pair = make(quantizer, priors.FactorizedCodes(shape, quantizer.num_codes))
    data = x.repeat(8, 1)
    history = pyvae.fit(
        pair, data, validation=x, epochs=20, batch_size=32, seed=0, compile=compiled, progress=False
    ).history
    assert history[-1]["validation_reconstruction"] > history[0]["validation_reconstruction"] + 0.3
    assert history[-1]["train_kl"] == pytest.approx(history[-1]["train_kl_k"], rel=1e-5)
    tokens = pair.encode(x)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (16, *shape)
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < quantizer.num_codes
    assert torch.equal(tokens, poutine.trace(pair.eval().guide).get_trace(x).nodes["k"]["value"])


def test_the_second_stage_fits_a_prior_to_the_codes(x):
    """The best factorized prior is that of the frequencies, and its bits their entropy."""
    pair = make(prior=priors.FactorizedCodes((GRID,), CODES))
    frozen = {n: p.clone() for n, p in pair.named_parameters() if not n.startswith("prior")}
    tokens = pair.encode(x.repeat(10, 1))
    settings = {"epochs": 200, "batch_size": 160, "seed": 0, "progress": False}
    pyvae.fit(CodePrior(pair), tokens, optimizer=lambda p: torch.optim.Adam(p, lr=0.1), **settings)
    frequencies = nn.functional.one_hot(tokens, CODES).double().mean(0)
    entropy = -torch.xlogy(frequencies, frequencies).sum()
    assert float(pyvae.elbo(pair, x).kl_terms["k"].mean()) == pytest.approx(float(entropy), abs=0.05)
    assert all(torch.equal(p, frozen[n]) for n, p in pair.named_parameters() if n in frozen)


def test_it_draws_conditions_and_takes_labels(x):
    pair = make(context=2).eval()
    y = torch.arange(16) % 2
    assert pair.model(y=y).shape == (16, WIDTH)
    with torch.no_grad():
        draws = Predictive(pair.model, num_samples=3)(None, y)
    assert draws["k"].shape == (3, 16, GRID)
    tokens = pair.encode(x, y)
    conditioned = poutine.trace(poutine.condition(pair.model, data={"k": tokens})).get_trace(None, y)
    assert torch.allclose(conditioned.nodes["x"]["fn"].mean, pair.decode(tokens, y))
    assert not torch.equal(pair.decode(tokens, y), pair.decode(tokens, 1 - y))


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(2, GRID), "float32"),
        (torch.zeros(2, 3, dtype=torch.int64), r"\(2, 3\)"),
        (torch.full((2, GRID), CODES), f"to {CODES}; expected 0 to {CODES - 1}"),
        (torch.full((2, GRID), -1), "from -1"),
    ],
)
def test_tokens_that_are_none(tokens, message):
    with pytest.raises(pyvae.DataError, match=message):
        make().decode(tokens)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x.where(x != x[3, 0], torch.nan), y), "NaN or infinity, first in row 3"),
        (lambda x, y: (x, y[:1]), "16 datapoints and 1 labels"),
        (lambda x, y: (x[:0], y[:0]), "at least one row"),
        (lambda x, y: (x.numpy(), y), "got a ndarray; expected a tensor"),
    ],
)
def test_data_that_are_none(change, message, x):
    with pytest.raises(pyvae.DataError, match=message):
        make(context=2).encode(*change(x, torch.arange(16) % 2))


def test_codes_need_a_label_each(x):
    pair = make(context=2)
    tokens = pair.encode(x, torch.arange(16) % 2)
    with pytest.raises(pyvae.DataError, match="16 datapoints and 1 labels"):
        pair.decode(tokens, torch.tensor([1]))


def test_components_that_do_not_fit():
    with pytest.raises(pyvae.PairError, match=r"encoder and quantizer: event shape \(4,\) of k; .* the prior, \(3,\)"):
        VQVAE(
            priors.FactorizedCodes((3,), CODES),
            likelihoods.Normal(nn.Sequential(nn.Flatten(-2), nn.Linear(9, WIDTH)), WIDTH),
            networks.MLP(WIDTH, (DIM, GRID), []),
            quantizers.VectorQuantizer(CODES, DIM),
        )
    with pytest.raises(pyvae.PairError, match="likelihood: Normal failed"):
        make(quantizers.VectorQuantizer(CODES, DIM + 1))
