"""The VampPrior: its density from those of the guide, and one guide for the pair and the prior, come what may."""

import copy
import functools
import io
import math

import pyro
import pytest
import torch
from pyro.infer import SVI, Predictive, Trace_ELBO
from torch import nn

import pyvae
from pyvae import guides, likelihoods, networks, priors, recipes
from pyvae.errors import ArgumentError, DataError, PairError

SHAPE, K = (5,), 4
few = functools.partial(priors.VampPrior, num_components=K)


def a_pair(context_dim=0):
    guide = guides.DiagonalNormal(networks.MLP(SHAPE, 4, [8], context_dim=context_dim), 2)
    return pyvae.VAE(
        prior=few(2, posterior=guide, shape=SHAPE),
        likelihood=likelihoods.Bernoulli(networks.MLP(2, SHAPE, [8], context_dim=context_dim), SHAPE),
        posterior=guide,
        context=networks.OneHot(context_dim) if context_dim else None,
    )


def by_hand(pair, z, *context):
    """log 1/K Σ_k q(z | u_k, c), one pseudo-input at a time."""
    terms = []
    for u in pair.prior.pseudo_inputs:
        c = [c.expand(len(z), -1) for c in context]
        terms.append(pair.posterior(u.expand(len(z), *SHAPE), *c).log_prob(z))
    return torch.stack(terms).logsumexp(0) - math.log(K)


def test_density():
    pair = a_pair().double()
    z = torch.randn(7, 2, dtype=torch.float64)
    torch.testing.assert_close(pair.prior().log_prob(z), by_hand(pair, z))


def test_density_with_a_context_of_any_leading_dims():
    pair = a_pair(context_dim=3).double()
    z, c = torch.randn(2, 7, 2, dtype=torch.float64), torch.randn(2, 7, 3, dtype=torch.float64)
    p = pair.prior(c)
    assert p.batch_shape == (2, 7)
    rows = [by_hand(pair, a, b) for a, b in zip(z, c, strict=True)]
    torch.testing.assert_close(p.log_prob(z), torch.stack(rows))


def test_single_precision_far_from_every_component():
    pair = a_pair()
    z = torch.full((1, 2), 1e4)
    log_prob = pair.prior().log_prob(z)
    assert log_prob.isfinite().all()
    torch.testing.assert_close(log_prob.double(), pair.double().prior().log_prob(z.double()), rtol=1e-4, atol=0)


def test_over_a_flow_and_a_full_covariance():
    flow = guides.InverseAutoregressiveFlow if hasattr(guides, "InverseAutoregressiveFlow") else guides.DiagonalNormal
    for make in (flow, getattr(guides, "FullRankNormal", flow)):
        pair = recipes.gaussian(SHAPE, 2, [8], prior=few, posterior=make).double()
        z = torch.randn(6, 2, dtype=torch.float64)
        torch.testing.assert_close(pair.prior().log_prob(z), by_hand(pair, z))


def test_the_guide_is_saved_once_and_stays_the_pairs_own(tmp_path):
    pair = recipes.gaussian(SHAPE, 2, [8], prior=few)
    names = list(pair.state_dict())
    assert [n for n in names if n.startswith("prior")] == ["prior.pseudo_inputs"]
    assert len(list(pair.parameters())) == len(names)
    stream = io.BytesIO()
    torch.save(pair, stream)
    stream.seek(0)
    pyvae.save(tmp_path / "pair.safetensors", pair)
    z = torch.randn(6, 2)
    for copied in (
        copy.deepcopy(pair),
        torch.load(stream, weights_only=False),
        pyvae.load(tmp_path / "pair.safetensors"),
    ):
        assert copied.prior._posterior[0] is copied.posterior
        assert copied.posterior is not pair.posterior
        assert torch.equal(copied.prior().log_prob(z), pair.prior().log_prob(z))
        assert len(list(copied.parameters())) == len(names)


def test_moves_and_modes():
    pair = a_pair()
    pair.eval().double()
    assert pair.prior().sample().dtype == torch.float64
    assert not pair.prior._posterior[0].training
    pair.train().to("meta")
    assert pair.prior._posterior[0] is pair.posterior
    with pyro.validation_enabled(False):
        assert pair.prior().sample().device.type == "meta"


@pytest.mark.parametrize(
    "make",
    [
        lambda: recipes.gaussian(SHAPE, 2, [8], prior=few),
        lambda: recipes.conditional(SHAPE, 3, 2, [8], prior=few),
        lambda: recipes.convolutional((1, 8, 8), 2, [4], prior=few),
        lambda: recipes.burda(SHAPE, 2, prior=few),
    ],
    ids=["gaussian", "conditional", "convolutional", "burda"],
)
def test_recipes_train_and_draw(make):
    pair = make()
    shape = tuple(pair.likelihood.event_shape)
    labels = (torch.arange(6) % 3,) if pair.context is not None else ()
    before = {n: p.detach().clone() for n, p in pair.named_parameters()}
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    assert all(math.isfinite(svi.step(torch.rand(6, *shape).round(), *labels)) for _ in range(2))
    assert all(not torch.equal(before[n], p) for n, p in pair.named_parameters())
    assert Predictive(pair.model, num_samples=3)(None, *labels, size=6)["x"].shape == (3, 6, *shape)


def test_fit():
    pair = recipes.gaussian(SHAPE, 2, [8], prior=few)
    before = pair.prior.pseudo_inputs.detach().clone()
    pyvae.fit(pair, torch.rand(16, *SHAPE).round(), epochs=1, batch_size=8, seed=0, progress=False)
    assert not torch.equal(before, pair.prior.pseudo_inputs)


def test_starts_within_the_unit_interval_or_at_data():
    pair = a_pair()
    assert ((pair.prior.pseudo_inputs >= 0) & (pair.prior.pseudo_inputs <= 1)).all()
    x = torch.randn(9, *SHAPE)
    pair.prior.start_at(x)
    assert torch.equal(pair.prior.pseudo_inputs, x[:K])
    with pytest.raises(DataError, match="at least 4"):
        pair.prior.start_at(x[:3])
    with pytest.raises(DataError, match="at least 4"):
        pair.prior.start_at(torch.zeros(9, 2))


def test_refusals():
    with pytest.raises(PairError, match="over"):
        few(2)()
    with pytest.raises(PairError, match="over"):
        few(2).start_at(torch.zeros(9, 5))
    with pytest.raises(ArgumentError, match="neither"):
        few(2, shape=5)
    with pytest.raises(ArgumentError, match="num_components"):
        priors.VampPrior(2, num_components=0)
    with pytest.raises(PairError, match="event shape"):
        few(3, posterior=guides.DiagonalNormal(nn.Linear(5, 4), 2), shape=5)()
