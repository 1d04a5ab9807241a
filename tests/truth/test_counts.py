"""Counts: library sizes, added zeros, denoised expression, and training from thousands."""

import math
from functools import partial

import pytest
import torch
from pyro import poutine
from torch import nn

import pyvae
from pyvae import datasets, likelihoods, networks, recipes

X = torch.tensor([[0.0, 3.0, 1000.0], [0.0, 0.0, 0.0], [5000.0, 0.0, 20000.0]])


def small(**options):
    return recipes.counts((3,), latent_dim=2, hidden=[4], **options)


def fixed(*numbers):
    """A network that always gives these numbers."""
    linear = nn.Linear(1, len(numbers))
    nn.init.zeros_(linear.weight)
    linear.bias.data = torch.tensor(numbers)
    return linear


def test_networks_see_logarithms_and_totals():
    identity = nn.Identity()
    assert torch.equal(networks.LogCounts(identity)(X), X.log1p())
    assert torch.equal(networks.LogCounts(lambda_of(lambda x, c: x + c))(X, torch.ones(3)), X.log1p() + 1)
    totals = networks.LogTotal(lambda_of(lambda x: torch.ones(*x.shape[:-1], 2)), dims=1)(X)
    torch.testing.assert_close(totals[:, 0], 1 + torch.tensor([1003.0, 1.0, 25000.0]).log())
    assert torch.equal(totals[:, 1], torch.ones(3))
    assert networks.LogTotal(fixed(0.0, 0.0), dims=1)(torch.ones(4, 5, 1)).shape == (4, 5, 2)
    without = networks.WithoutTotal(lambda_of(lambda *inputs: torch.stack(inputs)))
    assert len(without(X, X + 1, X + 2)) == 2
    assert torch.equal(without(X, X + 1)[0], X)


class lambda_of(nn.Module):
    """A function as a network."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def test_added_zeros_have_their_probability_and_no_others_change():
    logits, gate = (2.0, -1.0, 0.5), (0.3, -2.0, 1.0)
    plain = likelihoods.NegativeBinomial(fixed(*logits), 3)
    inflated = likelihoods.ZeroInflatedNegativeBinomial(fixed(*logits, *gate), 3)
    z, pi = torch.zeros(1, 1), torch.tensor(gate).sigmoid()
    zero, seven = torch.zeros(1, 3), torch.full((1, 3), 7.0)
    p, q = plain(z).base_dist, inflated(z).base_dist
    torch.testing.assert_close(q.log_prob(zero), (pi + (1 - pi) * p.log_prob(zero).exp()).log())
    torch.testing.assert_close(q.log_prob(seven), (1 - pi).log() + p.log_prob(seven))
    torch.testing.assert_close(inflated.log_mean(z), plain.log_mean(z))
    torch.testing.assert_close(q.mean, (1 - pi) * p.mean)


@pytest.mark.parametrize(
    "cls", [likelihoods.Poisson, likelihoods.NegativeBinomial, likelihoods.ZeroInflatedNegativeBinomial]
)
def test_with_a_library_size_the_means_without_added_zeros_sum_to_it(cls):
    pair = small(likelihood=cls)
    log_l = torch.tensor([[2.0], [9.0]])
    means = pair.likelihood.log_mean(torch.randn(2, 2), log_l).exp()
    torch.testing.assert_close(means.sum(-1, keepdim=True), log_l.exp())


def test_an_observed_library_size_is_that_of_the_data_and_no_site():
    pair = small()
    assert "log_l" not in pyro_trace(pair, X)
    fn = pyro_trace(pair, X)["x"]["fn"]
    torch.testing.assert_close(fn.mean.sum(-1), torch.tensor([1003.0, 1.0, 25000.0]))
    assert not any(name.startswith("library") for name, _ in pair.named_parameters())


def pyro_trace(pair, *args):
    return poutine.trace(pair.model).get_trace(*args).nodes


def test_a_learned_library_size_is_a_latent_that_starts_at_what_is_seen():
    pair = small(library="learned", library_size=500.0)
    q = pair.library_posterior(X)
    assert ((q.mean[:, 0] - torch.tensor([1003.0, 1.0, 25000.0]).log()).abs() < 2).all()
    assert pair.library_loc.exp().item() == pytest.approx(500.0)
    assert "log_l" in pyro_trace(pair, X)
    assert {"library_loc", "library_log_scale"} <= {name for name, _ in pair.named_parameters()}
    estimate = pyvae.elbo(pair, X, num_particles=2)
    assert estimate.kl_terms.keys() == {"z", "log_l"}


def test_what_is_generated_has_the_typical_total():
    pair = small(library_size=5000.0)
    totals = pair.model(size=2000).sum(-1)
    assert totals.median().item() == pytest.approx(5000, rel=0.15)


def test_wrong_components_are_refused():
    parts = {"prior": small().prior, "posterior": small().posterior}
    plain = likelihoods.NegativeBinomial(nn.Linear(2, 3), 3)
    with pytest.raises(pyvae.ArgumentError, match=r"NegativeBinomial without a library size.*library=True"):
        pyvae.CountVAE(likelihood=plain, **parts)
    with pytest.raises(pyvae.ArgumentError, match="library_size is 0"):
        small(library_size=0)
    with pytest.raises(pyvae.ArgumentError, match="likelihood"):
        small(likelihood=likelihoods.Bernoulli)
    with pytest.raises(pyvae.ArgumentError, match="num_samples is 0"):
        small().expression(X, num_samples=0)


def test_expression_is_the_mean_of_shares_at_the_batch_and_library_size_asked_for():
    pair = small(num_classes=2, likelihood=likelihoods.ZeroInflatedNegativeBinomial)
    here, there = (pair.expression(X, torch.full((3,), batch), library_size=100.0) for batch in (0, 1))
    torch.testing.assert_close(here.sum(-1), torch.full((3,), 100.0))
    assert (here - there).abs().max() > 0.01
    with pytest.raises(pyvae.DataError, match="got no labels"):
        pair.expression(X)


@pytest.mark.parametrize("library", ["observed", "learned"])
def test_training_on_cells_denoises_them(library):
    """The shares of each gene, in logarithms: far nearer to the truth than counts and than means of all cells."""
    data, (_, truth) = datasets.cells(), datasets.expression_of_cells()
    x, y = data.test[:]
    pair = recipes.counts(data.shape, num_classes=2, library=library, library_size=4000.0)
    pyvae.fit(pair, data.train, epochs=10, seed=0, progress=False)

    def error(shares):
        return float((shares.clamp(min=1e-5).log() - truth.log()).square().mean().sqrt())

    mean = (data.train.tensors[0] / data.train.tensors[0].sum(-1, keepdim=True)).mean(0)
    assert error(pair.expression(x, y, num_samples=10)) < 0.5 * error(mean) < 0.5 * error(x / x.sum(-1, keepdim=True))


@pytest.mark.parametrize("cls", [likelihoods.Poisson, likelihoods.NegativeBinomial])
@pytest.mark.parametrize(("columns", "mean"), [(50, 20.0), (200, 30.0)])
def test_the_gaussian_recipe_trains_on_counts(cls, columns, mean):
    scale = mean * torch.randn(columns).exp()
    x = torch.poisson(torch.distributions.Gamma(2.0, 2.0 / scale).sample((300,)))
    pair = recipes.gaussian((columns,), latent_dim=2, likelihood=cls)
    result = pyvae.fit(pair, x, epochs=5, batch_size=32, seed=0, progress=False)
    losses = [row["train_loss"] for row in result.history]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0]


def test_logarithms_are_seen_of_counts_unless_that_is_decided_otherwise():
    def encoder(likelihood, **options):
        return recipes.gaussian((3,), 2, likelihood=likelihood, **options).posterior.network

    assert isinstance(encoder(likelihoods.Poisson), networks.LogCounts)
    assert isinstance(encoder(likelihoods.Normal, log_input=True), networks.LogCounts)
    assert isinstance(encoder(likelihoods.Poisson, log_input=False), networks.MLP)
    assert isinstance(encoder(partial(likelihoods.Normal)), networks.MLP)


def test_an_encoder_that_fails_on_large_counts_prints_no_numbers():
    x = torch.poisson(torch.full((40, 50), 5000.0))
    with pytest.raises(pyvae.PairError, match=r"MarkovVAE\.guide failed .* found invalid values") as caught:
        pyvae.fit(recipes.hierarchical((50,), likelihood=likelihoods.Poisson), x, epochs=1, seed=0, progress=False)
    assert "tensor(" not in str(caught.value)


def test_another_library_is_refused():
    with pytest.raises(pyvae.ArgumentError, match="library is 'nope'; expected one of observed, learned"):
        recipes.counts((5,), library="nope")
