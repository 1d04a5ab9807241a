"""Latents that the model sums out: figures against sums by hand, filters and quadrature."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch import nn

import pyvae
from pyvae.objectives import ImportanceWeightedELBO

PARALLEL = {"enumerate": "parallel"}


class Mixture(nn.Module):
    """c ~ Cat(p), z ~ N(m_c, s²), x ~ N(z, 0.5²); the guide has z alone."""

    def __init__(self):
        super().__init__()
        self.m, self.w = nn.Parameter(torch.tensor([-2.0, 0.0, 2.0])), nn.Parameter(torch.tensor(0.9))
        self.register_buffer("p", torch.tensor([0.2, 0.5, 0.3]))

    def plate(self, x):
        return pyro.plate("data", len(x))

    spread = 0.4

    def model(self, x):
        with self.plate(x):
            c = pyro.sample("c", dist.Categorical(self.p), infer=PARALLEL)
            z = pyro.sample("z", dist.Normal(self.m[c], 0.3))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(self, x):
        with self.plate(x):
            pyro.sample("z", dist.Normal(self.w * x, self.spread))

    def data(self):
        return torch.tensor([-2.0, 0.0, 2.0])[torch.randint(3, (60,))] + 0.6 * torch.randn(60)

    def terms(self, x, draw):
        """log p(x | z), log p(z), log q(z)."""
        prior = (dist.Normal(self.m, 0.3).log_prob(draw["z"][..., None]) + self.p.log()).logsumexp(-1)
        return dist.Normal(draw["z"], 0.5).log_prob(x), prior, dist.Normal(self.w * x, self.spread).log_prob(draw["z"])

    def exact(self, x):
        return (dist.Normal(self.m, math.hypot(0.3, 0.5)).log_prob(x[:, None]) + self.p.log()).logsumexp(-1)


class Unsized(Mixture):
    """As above, in a plate of any size; and c chooses the scale of x as well."""

    def plate(self, x):
        return pyro.plate("data")

    spread = 1.0

    def model(self, x):
        with self.plate(x):
            c = pyro.sample("c", dist.Categorical(self.p.expand(len(x), 3)), infer=PARALLEL)
            z = pyro.sample("z", dist.Normal(self.m[c] + 0 * x, 0.3))
            pyro.sample("x", dist.Normal(z, 0.5 + c), obs=x)

    def terms(self, x, draw):
        z, scale = draw["z"][..., None], 0.5 + torch.arange(3)
        prior = dist.Normal(self.m, 0.3).log_prob(z) + self.p.log()
        both = (prior + dist.Normal(z, scale).log_prob(x[..., None])).logsumexp(-1)
        prior = prior.logsumexp(-1)
        return both - prior, prior, dist.Normal(self.w * x, self.spread).log_prob(draw["z"])

    def exact(self, x):
        scale = (0.09 + (0.5 + torch.arange(3)) ** 2).sqrt()
        return (dist.Normal(self.m, scale).log_prob(x[:, None]) + self.p.log()).logsumexp(-1)


class Topics(nn.Module):
    """Documents of 5 words, the topic of each summed out in a plate of its own; and a kind of the document."""

    def __init__(self):
        super().__init__()
        self.t, self.e = nn.Parameter(torch.randn(3, 7)), nn.Linear(7, 3)

    @config_enumerate
    def model(self, w):
        with pyro.plate("data", len(w)):
            kind = pyro.sample("kind", dist.Bernoulli(0.3))
            theta = pyro.sample("theta", dist.Dirichlet(torch.ones(3) + kind[..., None]))
            with pyro.plate("words", w.shape[1]):
                k = pyro.sample("k", dist.Categorical(theta))
                pyro.sample("w", dist.Categorical(logits=self.t[k]), obs=w.T)

    def guide(self, w):
        with pyro.plate("data", len(w)):
            pyro.sample("theta", dist.Dirichlet(self.strength(w)))

    def strength(self, w):
        return self.e(nn.functional.one_hot(w, 7).float().sum(-2)).exp() + 0.5

    def data(self):
        return torch.randint(7, (20, 5))

    def terms(self, w, draw):
        theta = draw["theta"]
        words = (theta[..., None, :, None] * self.t.softmax(-1)).sum(-2)  # p(word | θ), by hand: (…, 1, 7)
        data = words.expand(*words.shape[:-2], 5, 7).log().gather(-1, w[..., None].expand(*theta.shape[:-1], 5, 1))
        kinds = [dist.Dirichlet(torch.ones(3) + k).log_prob(theta) + math.log(p) for k, p in ((0, 0.7), (1, 0.3))]
        return data.sum((-1, -2)), torch.logaddexp(*kinds), dist.Dirichlet(self.strength(w)).log_prob(theta)

    exact = None


PAIRS = [Mixture, Unsized, Topics]


@pytest.mark.parametrize("make", PAIRS)
def test_figures_are_those_of_the_sums_by_hand(make):
    """The same draws of the guide, weighed by hand; then their estimates, and the exact log p(x) where it is known."""
    pair = make()
    x = pair.data()
    name = next(n for n in ("z", "theta") if n in poutine.trace(pair.guide).get_trace(x).nodes)
    draws, rows = [], []
    for seed in range(5):
        pyro.set_rng_seed(seed)
        draws.append(poutine.trace(pair.guide).get_trace(x).nodes[name]["value"])
        pyro.set_rng_seed(seed)
        rows.append(pyvae.log_weights(pair, x)[0])
    data, prior, q = pair.terms(x, {name: torch.stack(draws)})
    assert torch.allclose(torch.stack(rows), (data + prior - q).double(), atol=2e-4)
    many = torch.stack([poutine.trace(pair.guide).get_trace(x).nodes[name]["value"] for _ in range(2000)])
    data, prior, q = pair.terms(x, {name: many})
    estimate = pyvae.elbo(pair, x, num_particles=300, seed=0)
    error = 4 * math.hypot(estimate.standard_error, float((data + prior - q).std(0).norm() / len(x) / 2000**0.5))
    assert abs(estimate.value - float((data + prior - q).mean())) < error
    assert list(estimate.kl_terms) == [name]
    assert float(estimate.kl.mean()) == pytest.approx(float((q - prior).mean()), abs=0.15)
    assert float(estimate.reconstruction.mean()) == pytest.approx(float(data.mean()), abs=0.2)
    evaluation = pyvae.evaluate(pair, x, num_particles=20, seed=0)
    assert evaluation.log_likelihood.value > evaluation.elbo.value
    if pair.exact:
        bound = pyvae.log_likelihood(pair, x, num_particles=5000, seed=0, max_memory=2**20)
        assert bound.value == pytest.approx(float(pair.exact(x).mean()), abs=0.03)


class HiddenMarkov(nn.Module):
    """Sequences of 6 symbols from a chain of 3 hidden states, and no guide."""

    def __init__(self, forbidden=False):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.randn(3, 4))
        self.forbidden = forbidden

    def transition(self):
        logits = self.a.masked_fill(torch.eye(3).roll(1, 1).bool(), -torch.inf) if self.forbidden else self.a
        return logits.softmax(-1)

    @config_enumerate
    def model(self, x):
        h = 0
        with pyro.plate("sequences", len(x)):
            for t in pyro.markov(range(x.shape[1])):
                h = pyro.sample(f"h_{t}", dist.Categorical(self.transition()[h]))
                pyro.sample(f"x_{t}", dist.Categorical(logits=self.b[h]), obs=x[:, t])

    def guide(self, x):
        pass

    def exact(self, x):
        state = torch.log(self.transition()[0]).expand(len(x), 3)
        emission = self.b.log_softmax(-1)
        for t in range(x.shape[1]):
            if t:
                state = (state[:, :, None] + self.transition().log()).logsumexp(1)
            state = state + emission[:, x[:, t]].T
        return state.logsumexp(-1)


@pytest.mark.parametrize("forbidden", [False, True])
def test_a_hidden_markov_model_is_that_of_the_forward_algorithm(forbidden):
    x, pair = torch.randint(4, (40, 6)), HiddenMarkov(forbidden)
    exact = pair.exact(x).detach().double()
    for estimate in (pyvae.elbo(pair, x), pyvae.log_likelihood(pair, x, num_particles=3)):
        assert torch.allclose(estimate.per_datapoint, exact, atol=1e-4)
    assert float(pyvae.elbo(pair, x).kl.abs().max()) == 0
    if not forbidden:
        row = pyvae.fit(pair, x, epochs=1, batch_size=40, seed=0, progress=False).history[0]
        assert row["train_loss"] == pytest.approx(-float(exact.mean()), rel=1e-5)
        assert -float(pyvae.fit(pair, x, epochs=60, seed=0, progress=False).history[-1]["train_loss"]) > exact.mean()


@pytest.mark.parametrize("make", PAIRS)
def test_fit_sums_out_by_default(make):
    """Its loss, and gradient, are those of the sums by hand on the same draws."""
    pair = make()
    x = pair.data()

    def still(parameters):
        return torch.optim.SGD(parameters, lr=1e-9)

    settings = {"epochs": 1, "batch_size": len(x), "seed": 0, "progress": False, "optimizer": still}
    default = pyvae.fit(pair, x, validation=x, **settings).history[0]
    explicit = pyvae.fit(pair, x, objective=TraceEnum_ELBO(), **settings).history[0]
    assert default["train_loss"] == pytest.approx(explicit["train_loss"])
    many = pyvae.fit(pair, x, objective=TraceEnum_ELBO(num_particles=100), **settings).history[0]
    value = pyvae.elbo(pair, x, num_particles=500, seed=0).value
    assert -many["train_loss"] == pytest.approx(value, abs=0.25)
    assert default["validation_elbo"] == pytest.approx(value, abs=2.5)
    pair = make()
    before = pyvae.elbo(pair, x, num_particles=200, seed=0).value
    pyvae.fit(pair, x, epochs=60, seed=0, progress=False, optimizer=lambda p: torch.optim.Adam(p, lr=1e-2))
    assert pyvae.elbo(pair, x, num_particles=200, seed=0).value > before


@pytest.mark.parametrize("objective", [Trace_ELBO(), ImportanceWeightedELBO(3)])
def test_objectives_that_cannot_sum_out_are_refused(objective):
    with pytest.raises(pyvae.PairError, match=r"sums \['c'\] out, which \w+ cannot; use TraceEnum_ELBO\(\)"):
        pyvae.fit(Mixture(), Mixture().data(), objective=objective, epochs=1, progress=False)


DRAWS = {
    "diagnose": lambda pair, x: pyvae.diagnose(pair, x, num_particles=25),
    "to_inference_data": lambda pair, x: pyvae.to_inference_data(pair, x),
}


@pytest.mark.parametrize("tool", DRAWS)
@pytest.mark.parametrize("make", [*PAIRS, HiddenMarkov])
def test_what_needs_their_draws_says_so(tool, make):
    pair = make()
    x = pair.data() if make is not HiddenMarkov else torch.randint(4, (40, 6))
    with pytest.raises(
        pyvae.PairError, match=r"the model sums \[.*\] out, of which .* would need draws.*infer_discrete"
    ):
        DRAWS[tool](pair, x)


def test_a_discrete_latent_of_the_model_alone_gets_advice():
    class Forgotten(Mixture):
        def model(self, x):
            with poutine.infer_config(config_fn=lambda site: {"enumerate": None}):
                super().model(x)

    for call in (pyvae.elbo, lambda pair, x: pyvae.fit(pair, x, epochs=1, progress=False)):
        with pytest.raises(pyvae.PairError, match=r"\['c'\].*sum them out: pyro.sample.*TraceEnum_ELBO"):
            call(Forgotten(), Mixture().data())
