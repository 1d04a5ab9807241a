"""What is said of a row depends on that row: found before training, and right where Pyro's idioms make it so."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, autoguide
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pyvae
from pyvae.inspection.inspection import inspect_pair
from pyvae.inspection.perturbation import perturbed
from pyvae.inspection.rows import dependence_on_rows

N, BATCH = 48, 16
B = torch.tensor([1.0, -1.0, 0.5])


def data():
    return torch.randn(N, 1) * B + torch.randn(N, 3)


def exact_means(x):
    return x @ B / (1 + B @ B)


def exact_log_p(x):
    return dist.MultivariateNormal(torch.zeros(3), torch.eye(3) + torch.outer(B, B)).log_prob(x).mean()


def adam(lr=0.05):
    return lambda parameters: torch.optim.Adam(parameters, lr=lr)


def fit(pair, x, **arguments):
    return pyvae.fit(pair, x, **{"epochs": 1, "batch_size": BATCH, "seed": 0, "progress": False, **arguments})


class Model(pyro.nn.PyroModule):
    """z ~ N(0, 1), x ~ N(b z, 1)."""

    def model(self, x, index=None):
        with pyro.plate("data", len(x)):
            self.likelihood(x, pyro.sample("z", dist.Normal(0.0, 1.0)))

    def likelihood(self, x, z):
        pyro.sample("x", dist.Normal(B * z[..., None], 1.0).to_event(1), obs=x)


class Amortized(Model):
    """The posterior's mean is exact at a = b / (1 + b·b)."""

    def __init__(self):
        super().__init__()
        self.a, self.log_s = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(()))

    def guide(self, x, index=None):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ self.a, self.log_s.exp()))


class OwnRows(Amortized):
    """A location for each row, which zeros do not show."""

    def __init__(self, rows=BATCH):
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(rows))

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc, self.log_s.exp()))


class FirstRows(OwnRows):
    """Runs on any number of rows, as those of a larger table."""

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.loc[: len(x)], self.log_s.exp()))


class RowsOfAnEvent(FirstRows):
    def model(self, x):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(B * z[..., None], 1.0).to_event(2), obs=x)

    def guide(self, x):
        pyro.sample("z", dist.Normal(self.loc[: len(x)], 1.0).to_event(1))


class AmortizedRowsOfAnEvent(RowsOfAnEvent):
    def guide(self, x):
        pyro.sample("z", dist.Normal(x @ self.a, 1.0).to_event(1))


class Weights(Amortized):
    """The k-th row of a batch counts k times."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("fit", -torch.arange(len(x)) * (x - z[..., None] * B).square().sum(-1))
            self.likelihood(x, z)


class Centred(Amortized):
    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x - x.mean(0)) @ (self.a + 1), 1.0))


class Largest(Amortized):
    """A total over the batch where one of each row is meant."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(B * z[..., None], x.abs().max()).to_event(1), obs=x)


class SumOfAll(Amortized):
    """A sum without dim, once for each row."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("fit", dist.Normal(B * z[..., None], 1.0).log_prob(x).sum())
            self.likelihood(x, z)


class AcrossTheBatch(Amortized):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3, track_running_stats=False)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.norm(x) @ (self.a + 1), 1.0))


class Auto(Model):
    def __init__(self, kind):
        super().__init__()
        self.guide = kind(self.model)


class FullPlate(Model):
    """A batch is a part of it; the rows say which."""

    def plate(self, index):
        return pyro.plate("data", N, subsample=index)

    def model(self, x, index):
        with self.plate(index):
            self.likelihood(x, pyro.sample("z", dist.Normal(0.0, 1.0)))


class Indexed(FullPlate):
    def __init__(self):
        super().__init__()
        self.loc, self.log_s = nn.Parameter(torch.zeros(N)), nn.Parameter(torch.zeros(()))

    def guide(self, x, index):
        with self.plate(index):
            pyro.sample("z", dist.Normal(self.loc[index], self.log_s.exp()))


class AutoIndexed(FullPlate):
    def __init__(self):
        super().__init__()
        self.guide = autoguide.AutoNormal(self.model, create_plates=lambda x, index: self.plate(index))


class Masked(Amortized):
    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with poutine.mask(mask=x[:, 0] > 0):
                self.likelihood(x, z)


class WithGlobal(Amortized):
    def model(self, x):
        pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        super().model(x)

    def guide(self, x):
        pyro.sample("w", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        super().guide(x)


class NoiseOfItsOwn(Amortized):
    """Draws without Pyro's knowledge are no dependence on other rows."""

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ self.a + torch.randn(len(x)), 1.0))


class WithNorm(AcrossTheBatch):
    """A batch norm as it should be: known to look at the batch while it trains."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)


class WithDropout(WithNorm):
    def __init__(self):
        super().__init__()
        self.norm = nn.Dropout(0.5)


class LoopOverRows(Amortized):
    def model(self, x):
        for i in pyro.plate("rows", len(x)):
            z = pyro.sample(f"z_{i}", dist.Normal(0.0, 1.0))
            pyro.sample(f"x_{i}", dist.Normal(B * z, 1.0).to_event(1), obs=x[i])

    def guide(self, x):
        for i in pyro.plate("rows", len(x)):
            pyro.sample(f"z_{i}", dist.Normal(x[i] @ self.a, self.log_s.exp()))


ON_PLACE = {"first rows": FirstRows, "rows of an event": RowsOfAnEvent, "weights": Weights}
ON_OTHERS = {"centred": Centred, "largest": Largest, "sum of all": SumOfAll, "batch statistics": AcrossTheBatch}
ON_NUMBER = {"own rows": OwnRows, "AutoNormal": lambda: Auto(autoguide.AutoNormal)}
INDEPENDENT = {
    c.__name__: c
    for c in (Amortized, AmortizedRowsOfAnEvent, Masked, WithGlobal, NoiseOfItsOwn, WithNorm, WithDropout, LoopOverRows)
}


@pytest.mark.parametrize("make", INDEPENDENT.values(), ids=INDEPENDENT)
def test_programs_of_each_row_alone(make):
    assert dependence_on_rows(inspect_pair(make(), (data()[:BATCH],))) is None


@pytest.mark.parametrize("make", [Indexed, AutoIndexed])
def test_rows_that_are_numbered(make):
    assert dependence_on_rows(inspect_pair(make(), (data(), torch.arange(N)))) is None
    assert dependence_on_rows(inspect_pair(make(), (data()[3:9], torch.arange(N)[3:9]))) is None


@pytest.mark.parametrize("make", [*ON_PLACE.values(), *ON_OTHERS.values(), *ON_NUMBER.values()])
@pytest.mark.parametrize("rows", [2, 3, BATCH])
def test_dependence_is_found(make, rows):
    pair = OwnRows(rows) if make is OwnRows else make()
    with torch.no_grad():
        state = {name: t.clone() for name, t in pair.state_dict().items()}
    found = dependence_on_rows(inspect_pair(pair, (data()[:rows],)))
    assert found
    assert found.on_place == (make in ON_PLACE.values())
    assert all(torch.equal(t, state[name]) for name, t in pair.state_dict().items() if name in state)


@pytest.mark.parametrize("make", [*ON_PLACE.values(), *ON_NUMBER.values()])
def test_batches_of_rows_known_by_their_place_are_refused(make):
    with pytest.raises(pyvae.PairError, match=r"16 of 48 rows.*network of x.*subsample=index.*batch_size=48"):
        fit(make(), data())


@pytest.mark.parametrize("make", ON_OTHERS.values(), ids=ON_OTHERS)
def test_batches_of_rows_that_know_each_other_are_refused(make):
    with pytest.raises(pyvae.PairError, match=r"depends on the other rows.*as x.sum\(-1\).*batch_size=48"):
        fit(make(), data())
    for figure in (pyvae.elbo, pyvae.log_likelihood, pyvae.log_weights):
        with pytest.raises(pyvae.PairError, match=r"the other rows.*how the data are cut into parts"):
            figure(make(), data())


def test_weights_of_rows_known_by_their_place_are_right_as_long_as_all_are_one_part():
    pair, x = Weights(), data()
    weights = pyvae.log_weights(pair, x, num_particles=3)
    assert weights.shape == (3, N)
    with pytest.raises(pyvae.PairError, match="depends on its place"):
        pyvae.log_weights(pair, x, num_particles=3, max_memory=1)


def by_svi(pair, x, steps, lr=0.05):
    """Minus the loss per row that Pyro's SVI reaches, as a mean over its last steps."""
    torch.manual_seed(0)
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": lr}), Trace_ELBO())
    losses = [svi.step(x) for _ in range(steps)]
    return -sum(losses[-20:]) / 20 / len(x)


def guide_list(model):
    guide = autoguide.AutoGuideList(model)
    guide.append(autoguide.AutoNormal(model))
    return guide


AUTOGUIDES = {
    **{
        name: getattr(autoguide, name)
        for name in (
            *("AutoDelta", "AutoNormal", "AutoDiagonalNormal", "AutoMultivariateNormal", "AutoIAFNormal"),
            *("AutoLowRankMultivariateNormal", "AutoLaplaceApproximation", "AutoStructured", "AutoGaussian"),
        )
    },
    "AutoGuideList": guide_list,
}


@pytest.mark.parametrize("kind", AUTOGUIDES.values(), ids=AUTOGUIDES)
def test_guides_made_by_pyro(kind):
    """Refused in batches, and then as new; on all rows at once they reach what SVI does."""
    x, pair = data()[:8], Auto(kind)
    with pytest.raises(pyvae.PairError, match=r"takes 4 rows together, but not.*create_plates.*batch_size=8"):
        fit(pair, x, batch_size=4)
    assert not list(pair.parameters())
    pair.guide(x)  # they have no parameters before
    steps, rate = (100, 0.1) if kind is autoguide.AutoIAFNormal else (40, 0.2)
    result = fit(pair, x, batch_size=8, epochs=steps, optimizer=adam(rate))
    reached = sum(row["train_loss"] for row in result.history[-20:]) / -20
    pyro.clear_param_store()
    assert reached == pytest.approx(by_svi(Auto(kind), x, steps, rate), abs=0.5)


@pytest.mark.parametrize("name", ["AutoNormalMessenger", "AutoHierarchicalNormalMessenger", "AutoRegressiveMessenger"])
@pytest.mark.parametrize("call", [fit, pyvae.elbo, pyvae.log_likelihood, pyvae.diagnose])
def test_messengers_run_the_model_and_are_no_guides_of_a_pair(name, call):
    pair = Auto(getattr(autoguide, name))
    with pytest.raises(pyvae.PairError, match=rf"a {name}, which runs the model itself.*such as Auto"):
        call(pair, data())
    assert not list(pair.parameters())


@pytest.mark.parametrize("make", [lambda: Auto(autoguide.AutoNormal), lambda: OwnRows(N), lambda: FirstRows(N)])
@pytest.mark.parametrize("loader", [False, True])
def test_all_rows_at_once_are_in_their_order(make, loader):
    x, pair = data(), make()
    pair.guide(x)
    given = DataLoader(TensorDataset(x), batch_size=N) if loader else x
    fit(pair, given, batch_size=N, epochs=150, optimizer=adam(0.1))
    loc = pair.loc if hasattr(pair, "loc") else pair.guide.locs.z
    assert torch.corrcoef(torch.stack([loc.detach(), exact_means(x)]))[0, 1] > 0.95


@pytest.mark.parametrize("kind", [autoguide.AutoNormal, autoguide.AutoDiagonalNormal])
def test_guides_that_were_set_up_on_all_rows(kind):
    pair, x = Auto(kind), data()
    pair.guide(x)
    for call in (fit, pyvae.elbo):
        with pytest.raises(pyvae.PyvaeError, match=r"48 rows, and the parameters \['guide.*subsample=index"):
            call(pair, x)


def test_a_loader_that_shuffles_all_rows():
    with pytest.raises(pyvae.PairError, match=r"DataLoader\(…, batch_size=48, shuffle=False\)"):
        fit(OwnRows(N), DataLoader(TensorDataset(data()), batch_size=N, shuffle=True))


def test_rows_of_their_own_cannot_be_validated():
    with pytest.raises(pyvae.PairError, match=r"data to validate on are other rows.*Leave validation out"):
        fit(OwnRows(N), data(), batch_size=N, validation=data())


@pytest.mark.parametrize("make", [Indexed, AutoIndexed])
def test_numbered_rows_train_in_batches(make):
    x, index, pair = data(), torch.arange(N), make()
    pair.guide(x, index)
    result = fit(pair, (x, index), epochs=100, optimizer=adam())
    loc = pair.loc if make is Indexed else pair.guide.locs.z
    assert torch.corrcoef(torch.stack([loc.detach(), exact_means(x)]))[0, 1] > 0.95
    assert result.history[-1]["train_elbo"] == pytest.approx(float(exact_log_p(x)), abs=0.15)


def test_noise_on_parameters_is_taken_back_bit_by_bit():
    pair = Amortized()
    with torch.no_grad():
        pair.log_s.fill_(1e-30)
        pair.a[1] = math.pi
    before = [p.clone() for p in pair.parameters()]
    stream = torch.random.get_rng_state()
    with perturbed(list(pair.parameters()), 0):
        assert not any(torch.equal(p, b) for p, b in zip(pair.parameters(), before, strict=True))
        assert pair.log_s > 0
    assert all(torch.equal(p, b) for p, b in zip(pair.parameters(), before, strict=True))
    assert torch.equal(torch.random.get_rng_state(), stream)
