"""Data with missing values, against models whose answer is known."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from sklearn.datasets import load_iris
from torch import nn

import pyvae
from pyvae import distributions, guides, likelihoods, priors, recipes
from pyvae.objectives import ImportanceWeightedELBO

NAN = float("nan")
EVENT = 4


class Exact(nn.Module):
    """z ~ N(0, I), x ~ N(W z, σ² I); the guide is the posterior given what is observed."""

    takes_missing = True

    def __init__(self, scale=0.5):
        super().__init__()
        self.w, self.scale = nn.Parameter(torch.randn(EVENT, 2)), scale

    def model(self, x):
        pyro.module("exact", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = z @ self.w.T
            p = distributions.PartiallyObserved(dist.Normal(loc, self.scale)).to_event(1)
            pyro.sample("x", p, obs=x)

    def posterior(self, x):
        seen = (~x.isnan()).to(x.dtype)
        precision = torch.eye(2) + torch.einsum("ni,id,ie->nde", seen, self.w, self.w) / self.scale**2
        covariance = precision.inverse()
        return torch.einsum("nde,ne->nd", covariance, x.nan_to_num() @ self.w / self.scale**2), covariance

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(*self.posterior(x)))


def with_gaps(rows=9, part=0.4):
    x = torch.randn(rows, EVENT)
    x[torch.rand(rows, EVENT) < part] = NAN
    x[0] = NAN  # nothing observed
    return x


def evidence(pair, x):
    """log p(x_o) of each row."""
    covariance = (pair.w @ pair.w.T + pair.scale**2 * torch.eye(EVENT)).detach()
    result = []
    for row in x:
        seen = ~row.isnan()
        normal = torch.distributions.MultivariateNormal(torch.zeros(int(seen.sum())), covariance[seen][:, seen])
        result.append(normal.log_prob(row[seen]) if seen.any() else torch.zeros(()))
    return torch.stack(result).double()


def test_the_bound_is_the_evidence_of_what_is_observed():
    pair, x = Exact(), with_gaps()
    torch.testing.assert_close(pyvae.elbo(pair, x, seed=0).per_datapoint, evidence(pair, x), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        pyvae.log_likelihood(pair, x, num_particles=5, seed=0).per_datapoint, evidence(pair, x), rtol=0, atol=1e-4
    )


def test_imputation_is_the_conditional_mean():
    pair, x = Exact(), with_gaps(50)
    filled = pyvae.impute(pair, x, num_particles=20_000, seed=0)
    mean = (pair.posterior(x)[0] @ pair.w.T).detach()
    assert torch.equal(filled[~x.isnan()], x[~x.isnan()])
    torch.testing.assert_close(filled[x.isnan()], mean[x.isnan()], rtol=0, atol=0.05)
    assert torch.equal(
        pyvae.impute(pair, x, num_particles=100, seed=3), pyvae.impute(pair, x, num_particles=100, seed=3)
    )


def test_imputation_weighs_the_draws_of_a_bad_guide():
    class Wide(Exact):
        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(2), 2.0).to_event(1))

    pair, x = Wide(), with_gaps()
    filled = pyvae.impute(pair, x, num_particles=100_000, seed=0)
    mean = (pair.posterior(x)[0] @ pair.w.T).detach()
    torch.testing.assert_close(filled[x.isnan()], mean[x.isnan()], rtol=0, atol=0.1)


def test_what_is_missing_changes_no_gradient():
    network = nn.Linear(2, EVENT)
    likelihood = likelihoods.MissingAtRandom(network, EVENT)
    z, x = torch.randn(3, 2), torch.randn(3, EVENT)
    x[:, 1] = NAN
    likelihood(z).log_prob(x).sum().backward()
    assert network.weight.grad.isfinite().all()
    assert (network.weight.grad[1] == 0).all()
    plain = likelihoods.Normal(network, EVENT)(z).base_dist.log_prob(x.nan_to_num())[:, [0, 2, 3]].sum(-1)
    torch.testing.assert_close(likelihood(z).log_prob(x), plain)


WITH_GAPS = [
    likelihoods.Bernoulli,
    likelihoods.Normal,
    likelihoods.HeteroscedasticNormal,
    likelihoods.Laplace,
    likelihoods.StudentT,
    likelihoods.ContinuousBernoulli,
    likelihoods.Categorical,
    likelihoods.Poisson,
    likelihoods.NegativeBinomial,
]


@pytest.mark.parametrize("kind", WITH_GAPS, ids=lambda c: c.__name__)
def test_values_of_any_kind_may_be_missing(kind):
    x = torch.rand(30, EVENT).round()
    x[torch.rand(30, EVENT) < 0.3] = NAN
    pair = recipes.incomplete((EVENT,), latent_dim=2, hidden=[8], likelihood=kind)
    result = pyvae.fit(pair, x, objective=ImportanceWeightedELBO(3), epochs=2, seed=0, progress=False)
    assert result.history[-1]["train_loss"] > -100
    assert not pyvae.impute(pair, x, num_particles=10, seed=0).isnan().any()
    assert pair.model(size=3).isfinite().all()
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    assert abs(svi.step(x)) < 1e6


def test_images_with_gaps_and_their_files(tmp_path):
    x = torch.rand(20, 1, 4, 4).round()
    x[torch.rand(20, 1, 4, 4) < 0.3] = NAN
    kind = partial(likelihoods.MissingAtRandom, likelihood=likelihoods.Bernoulli)
    pair = recipes.incomplete((1, 4, 4), latent_dim=2, hidden=[8], likelihood=likelihoods.Bernoulli)
    pyvae.fit(pair, x, validation=x, epochs=2, seed=0, progress=False)
    pyvae.save(tmp_path / "pair.safetensors", pair)
    again = pyvae.load(tmp_path / "pair.safetensors")
    assert torch.equal(pyvae.impute(again, x, seed=0), pyvae.impute(pair, x, seed=0))
    assert kind(nn.Linear(2, 5), 5)(torch.zeros(3, 2)).sample().shape == (3, 5)


def test_refusals():
    complete, x = recipes.gaussian((EVENT,), latent_dim=2, hidden=[8]), with_gaps()
    with pytest.raises(pyvae.DataError, match=r"NaN or infinity, first in row 0.*likelihoods.MissingAtRandom"):
        pyvae.fit(complete, x, epochs=1, seed=0, progress=False)
    with pytest.raises(pyvae.PairError, match=r"no component of the VAE takes NaN.*networks.ObservedOnly"):
        pyvae.impute(complete, x)
    pair = recipes.incomplete((EVENT,), latent_dim=2, hidden=[8])
    x[3, 2] = float("inf")
    for run in (lambda: pyvae.fit(pair, x, epochs=1, seed=0, progress=False), lambda: pyvae.impute(pair, x)):
        with pytest.raises(pyvae.DataError, match="holds infinity, first in row 3"):
            run()
    with pytest.raises(pyvae.ArgumentError, match="num_particles is 0"):
        pyvae.impute(pair, with_gaps(), num_particles=0)
    outside = 2.0 + torch.rand(5, EVENT)
    outside[0, 0] = NAN
    binary = recipes.incomplete((EVENT,), latent_dim=2, hidden=[8], likelihood=likelihoods.Bernoulli)
    with pytest.raises(pyvae.DataError, match=r"outside of the support.*or NaN where it is missing"):
        pyvae.fit(binary, outside, epochs=1, seed=0, progress=False)
    with pytest.raises(pyvae.PairError, match="returned DiscretizedLogisticMixture; values can be missing of"):
        recipes.incomplete((EVENT,), latent_dim=2, hidden=[8], likelihood=likelihoods.DiscretizedLogisticMixture)
    with pytest.raises(pyvae.PairError, match="has event shape"):
        distributions.PartiallyObserved(dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))


def test_what_imputation_cannot_do():
    heavy = recipes.incomplete((EVENT,), latent_dim=2, hidden=[8], likelihood=partial(likelihoods.StudentT, df=1.0))
    with pytest.raises(pyvae.PairError, match="site 'x' has no finite mean"):
        pyvae.impute(heavy, with_gaps(), num_particles=10)
    for wrong in (-1, 1.5, "a", True):
        with pytest.raises(pyvae.ArgumentError, match="seed is"):
            pyvae.impute(heavy, with_gaps(), seed=wrong)
    with pytest.raises(pyvae.DataError, match="got a list; expected a tensor"):
        pyvae.impute(heavy, [[1.0, NAN, 3.0, 4.0]])
    for wrong in ("Normal", likelihoods.Normal(nn.Linear(2, 3), 3)):
        with pytest.raises(pyvae.ArgumentError, match="expected what makes one from a network and a shape"):
            recipes.incomplete((EVENT,), likelihood=wrong)


def test_a_guide_that_sees_nan_is_told_of():
    pair = pyvae.VAE(
        priors.StandardNormal(2),
        likelihoods.MissingAtRandom(nn.Linear(2, EVENT), EVENT),
        guides.DiagonalNormal(nn.Linear(EVENT, 4), 2),
    )
    with pytest.raises(pyvae.PyvaeError, match=r"hold NaN; .*must know, as networks\.ObservedOnly"):
        pyvae.fit(pair, with_gaps(), epochs=1, seed=0, progress=False)


@pytest.mark.slow
def test_iris():
    """Half of iris missing, as in the notebook of Mattei and Frellsen, whose error is 0.444."""
    complete = torch.from_numpy(load_iris().data)
    complete = ((complete - complete.mean(0)) / complete.std(0, correction=0)).float()
    torch.manual_seed(1234)
    missing = torch.rand(complete.shape) < 0.5
    x = complete.masked_fill(missing, NAN)
    pair = recipes.incomplete(
        (EVENT,),
        latent_dim=1,
        hidden=[128, 128],
        likelihood=partial(likelihoods.StudentT, learn_scale=True, per_element=True, learn_df=True),
    )
    pyvae.fit(pair, x, objective=ImportanceWeightedELBO(20), epochs=2000, batch_size=64, seed=0, progress=False)
    filled = pyvae.impute(pair, x, num_particles=10_000, seed=0)
    error = float((filled - complete)[missing].square().mean())
    print(f"mean squared error of the imputation: {error:.3f}")
    assert error <= 0.5
