"""Latents that are one for all data: batches must know how many rows there are, and plates must agree."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import nn
from torch.distributions import constraints

import pyvae

N = 60


class Mean(PyroModule):
    """w ~ N(0, 1), x ~ N(w, 1), of which the posterior is N(Σ x / (N + 1), 1 / (N + 1))."""

    def __init__(self, total=None):
        super().__init__()
        self.total = total
        self.m, self.s = nn.Parameter(torch.tensor(0.0)), PyroParam(torch.tensor(1.0), constraints.positive)

    def plate(self, x):
        return pyro.plate("data", self.total or len(x), subsample=x if self.total else None)

    def model(self, x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with self.plate(x):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    def guide(self, x):
        pyro.sample("w", dist.Normal(self.m, self.s))


class WithLocals(Mean):
    def model(self, x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with self.plate(x):
            z = pyro.sample("z", dist.Normal(w, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        w = pyro.sample("w", dist.Normal(self.m, self.s))
        with self.plate(x):
            pyro.sample("z", dist.Normal((x + w) / 2, math.sqrt(0.5)))  # p(z | w, x)


class WithoutPlate(Mean):
    def model(self, x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(w.expand(len(x)), 1.0).to_event(1), obs=x)


class RandomWeights(Mean):
    """The weights of a regression are latent."""

    def __init__(self, total=None):
        super().__init__(total)
        self.linear = PyroModule[nn.Linear](1, 1)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([1, 1]).to_event(2))
        self.linear.bias = nn.Parameter(torch.zeros(1), requires_grad=False)

    def model(self, x):
        means = self.linear(torch.ones(len(x), 1))[:, 0]
        with self.plate(x):
            pyro.sample("x", dist.Normal(means, 1.0), obs=x)

    def guide(self, x):
        pyro.sample("linear.weight", dist.Normal(self.m, self.s).expand([1, 1]).to_event(2))


def fit(pair, x, **arguments):
    rate = {"optimizer": lambda p: torch.optim.Adam(p, lr=0.01)}
    return pyvae.fit(pair, x, **{"epochs": 1, "seed": 0, "progress": False, **rate, **arguments})


PAIRS = [Mean, WithLocals, RandomWeights]


@pytest.mark.parametrize("make", [*PAIRS, WithoutPlate])
def test_batches_that_do_not_know_how_many_rows_there_are(make):
    match = rf"is one for all 60 rows.*20 at a time.*pyro.plate\(\"data\", {N}, subsample=x\).*batch_size=60"
    with pytest.raises(pyvae.PairError, match=match):
        fit(make(), torch.randn(N), batch_size=20)


@pytest.mark.parametrize("make", PAIRS)
def test_a_plate_of_another_number_of_rows(make):
    with pytest.raises(pyvae.PairError, match=r"posterior would be that of 1000 rows.*plate\(\"data\", 60"):
        fit(make(1000), torch.randn(N), batch_size=20)


@pytest.mark.parametrize("make", PAIRS)
@pytest.mark.parametrize(("total", "batch_size"), [(N, 20), (N, N), (None, N)])
def test_the_conjugate_posterior(make, total, batch_size):
    """Training that starts there stays; and what is logged is right: the KL per row is that of all data over N."""
    x, pair = 1.5 + torch.randn(N), make(total)
    noise = 2.0 if make is WithLocals else 1.0  # the variance of x given w
    precision = 1 + N / noise
    mean, sd = float(x.sum()) / noise / precision, precision**-0.5
    pair.m.data.fill_(mean)
    pair.s = torch.tensor(sd)
    result = fit(pair, x, batch_size=batch_size, epochs=40 if batch_size < N else 100)
    history = result.history[-30:]
    assert float(pair.m) == pytest.approx(mean, abs=0.15)
    assert float(pair.s) == pytest.approx(sd, rel=0.2)  # that of 20 rows alone is 70 % larger
    marginal = dist.MultivariateNormal(torch.zeros(N), noise * torch.eye(N) + 1.0).log_prob(x) / N
    logged = sum(row["train_elbo"] for row in history) / len(history)
    assert logged == pytest.approx(float(marginal), abs=0.05)
    if make is Mean:
        q = torch.distributions.Normal(mean, sd)
        kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
        assert history[-1]["train_kl"] == pytest.approx(float(kl) / N, rel=0.15)


class Plates(nn.Module):
    """The plates of both programs, as they are given."""

    def __init__(self, model, guide):
        super().__init__()
        self.a, self.plates = nn.Parameter(torch.tensor(0.3)), (model, guide)

    def model(self, x):
        with self.plates[0](x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(self, x):
        with self.plates[1](x):
            pyro.sample("z", dist.Normal(self.a * x, 1.0))


def whole(x):
    return pyro.plate("data", len(x))


def of(size, **options):
    return lambda x: pyro.plate("data", size(x) if callable(size) else size, **options)


def part_of(size, name="data"):
    return lambda x: pyro.plate(name, size, subsample=x)


UNEQUAL = {
    "one": (of(1), whole),
    "one less": (of(lambda x: len(x) - 1), whole),
    "twice": (of(lambda x: 2 * len(x)), whole),
    "a thousand": (of(1000), whole),
    "a thousand in the guide": (whole, part_of(1000)),
    "other numbers": (part_of(60), part_of(61)),
    "other dims": (of(len, dim=-1), of(len, dim=-2)),
}


@pytest.mark.parametrize(("model", "guide"), UNEQUAL.values(), ids=UNEQUAL)
def test_plates_of_unequal_sizes(model, guide):
    with pytest.raises(pyvae.PyvaeError, match=r"plate 'data' has (size|dim)|has size|shape"):
        fit(Plates(model, guide), torch.randn(N), batch_size=20, epochs=1)


def test_plates_of_other_names_that_scale_otherwise():
    with pytest.raises(pyvae.PairError, match=r"multiply the density of site 'z' by 3 in the model and by 1 in"):
        fit(Plates(part_of(60, "rows"), whole), torch.randn(N), batch_size=20, epochs=1)


@pytest.mark.parametrize(("model", "guide"), [(whole, whole), (part_of(60), part_of(60)), (part_of(999), part_of(999))])
def test_plates_that_agree(model, guide):
    fit(Plates(model, guide), torch.randn(N), batch_size=20, epochs=1)
