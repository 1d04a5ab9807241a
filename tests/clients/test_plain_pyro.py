"""Our pairs in programs as Pyro users write them."""

import copy

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import nn

import pyvae
from pyvae import guides, likelihoods, priors, recipes

SHAPE = (1, 8, 8)
LIKELIHOODS = [likelihoods.Bernoulli, likelihoods.Normal, likelihoods.HeteroscedasticNormal]
OBJECTIVES = [
    Trace_ELBO(),
    Trace_ELBO(num_particles=2, vectorize_particles=True),
    TraceMeanField_ELBO(),
    TraceGraph_ELBO(),
    RenyiELBO(alpha=0, num_particles=2, vectorize_particles=True),
]


def pairs():
    for likelihood in LIKELIHOODS:
        yield recipes.gaussian(SHAPE, 3, [16], likelihood=likelihood), ()
    yield recipes.gaussian(SHAPE, 3, [16], prior=priors.NormalMixture), ()
    yield recipes.convolutional(SHAPE, 3, [4, 8]), ()
    yield recipes.burda(SHAPE, 3), ()
    for learn_prior in (False, True):
        yield recipes.conditional(SHAPE, 10, 3, [16], learn_prior=learn_prior), (torch.arange(10),)


COUNT = len(list(pairs()))


@pytest.fixture(params=range(COUNT))
def pair_and_args(request):
    pair, labels = list(pairs())[request.param]
    return pair, (torch.rand(10, *SHAPE).round(), *labels)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: f"{type(o).__name__}{o.num_particles}")
def test_svi_trains(pair_and_args, objective):
    pair, args = pair_and_args
    before = [p.detach().clone() for p in pair.parameters()]
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), objective)
    losses = [svi.step(*args) for _ in range(3)]
    assert all(map(torch.isfinite, map(torch.tensor, losses)))
    assert all(not torch.equal(b, p) for b, p in zip(before, pair.parameters(), strict=True))


def test_predictive_draws(pair_and_args):
    pair, args = pair_and_args
    prior = Predictive(pair.model, num_samples=4)(None, *args[1:], size=10)
    assert prior["x"].shape == (4, 10, *SHAPE)
    posterior = Predictive(poutine.uncondition(pair.model), guide=pair.guide, num_samples=4)(*args)
    assert posterior["x"].shape == (4, 10, *SHAPE)
    assert posterior["z"].shape[:2] == (4, 10)


def test_model_conditions_like_any_pyro_model(pair_and_args):
    pair, args = pair_and_args
    z = torch.zeros(10, 3)
    trace = poutine.trace(poutine.condition(pair.model, data={"z": z, "x": args[0]})).get_trace(
        None, *args[1:], size=10
    )
    assert trace.nodes["x"]["is_observed"]
    assert trace.log_prob_sum().isfinite()


def test_every_pair_fits_evaluates_and_round_trips(pair_and_args, tmp_path):
    pair, args = pair_and_args
    pyvae.fit(pair, args, epochs=1, batch_size=5, progress=False, seed=0)
    assert pyvae.evaluate(pair, args, num_particles=3, seed=0).elbo.per_datapoint.shape == (10,)
    pyvae.save(tmp_path / "pair.safetensors", pair)
    loaded = pyvae.load(tmp_path / "pair.safetensors")
    assert torch.equal(pyvae.log_weights(loaded, *args).isfinite(), torch.ones(1, 10, dtype=torch.bool))
    for name, tensor in pair.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])


def test_two_pairs_and_a_copy_train_apart():
    first = recipes.gaussian((5,), 2, [8])
    second = recipes.gaussian((5,), 2, [8])
    third = copy.deepcopy(first)
    x = torch.rand(6, 5).round()
    for pair in (first, second, third):
        before = [p.detach().clone() for p in pair.parameters()]
        SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO()).step(x)
        assert all(not torch.equal(b, p) for b, p in zip(before, pair.parameters(), strict=True))


def test_constructing_and_importing_change_no_global_state():
    state = torch.get_rng_state()
    recipes.burda(SHAPE)  # draws its weights
    after_weights = torch.get_rng_state()
    torch.set_rng_state(state)
    guide = guides.DiagonalNormal(nn.Linear(5, 4), 2)
    decoder = nn.Linear(2, 5)
    state = torch.get_rng_state()
    pyvae.VAE(priors.StandardNormal(2), likelihoods.Normal(decoder, 5), guide)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(after_weights, state)
    assert len(pyro.get_param_store()) == 0


def test_double_precision_and_any_module_fit_in():
    class Odd(nn.Module):
        """Takes exactly one batch dimension."""

        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(3, 64)

        def forward(self, z):
            batch, _ = z.shape
            return self.inner(z).view(batch, 1, 8, 8)

    vae = pyvae.VAE(
        priors.StandardNormal(3),
        likelihoods.Bernoulli(Odd(), SHAPE),
        guides.DiagonalNormal(nn.Sequential(nn.Flatten(), nn.Linear(64, 6)), 3),
    ).double()
    x = torch.rand(9, *SHAPE, dtype=torch.float64).round()
    assert pyvae.log_weights(vae, x, num_particles=4).shape == (4, 9)
    pyvae.fit(vae, x, epochs=1, progress=False)
    assert vae.model(size=2).dtype == torch.float64
