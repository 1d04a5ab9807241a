"""The VAE as a Pyro user writes it by hand, with no class of pyvae, in every tool of pyvae."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, RenyiELBO, Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import pyvae


class Decoder(nn.Module):
    def __init__(self, z_dim, hidden_dim, pixels):
        super().__init__()
        self.fc1, self.fc21 = nn.Linear(z_dim, hidden_dim), nn.Linear(hidden_dim, pixels)

    def forward(self, z):
        return torch.sigmoid(self.fc21(nn.functional.softplus(self.fc1(z))))


class Encoder(nn.Module):
    def __init__(self, z_dim, hidden_dim, pixels):
        super().__init__()
        self.pixels = pixels
        self.fc1 = nn.Linear(pixels, hidden_dim)
        self.fc21, self.fc22 = nn.Linear(hidden_dim, z_dim), nn.Linear(hidden_dim, z_dim)

    def forward(self, x):
        hidden = nn.functional.softplus(self.fc1(x.reshape(-1, self.pixels)))
        return self.fc21(hidden), torch.exp(self.fc22(hidden))


class HandWritten(nn.Module):
    """One plate, the flattened images to_event(1), the sites "latent" and "obs"."""

    def __init__(self, z_dim=5, hidden_dim=32, pixels=64):
        super().__init__()
        self.encoder, self.decoder = Encoder(z_dim, hidden_dim, pixels), Decoder(z_dim, hidden_dim, pixels)
        self.z_dim, self.pixels = z_dim, pixels

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            loc, scale = x.new_zeros(x.shape[0], self.z_dim), x.new_ones(x.shape[0], self.z_dim)
            z = pyro.sample("latent", dist.Normal(loc, scale).to_event(1))
            probs = self.decoder(z)
            pyro.sample("obs", dist.Bernoulli(probs, validate_args=False).to_event(1), obs=x.reshape(-1, self.pixels))
            return probs

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, scale = self.encoder(x)
            pyro.sample("latent", dist.Normal(loc, scale).to_event(1))


class Unregistered(HandWritten):
    """The same without pyro.module, which a pair whose parameters we find ourselves does not need."""

    def model(self, x):
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(self.z_dim), 1.0).to_event(1))
            pyro.sample("obs", dist.Bernoulli(self.decoder(z)).to_event(1), obs=x.reshape(-1, self.pixels))

    def guide(self, x):
        with pyro.plate("data", x.shape[0]):
            loc, scale = self.encoder(x)
            pyro.sample("latent", dist.Normal(loc, scale).to_event(1))


class Subsampled(HandWritten):
    """A plate over the full data, from which x is a mini-batch."""

    full_size = 1000

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", self.full_size, subsample=x) as batch:
            z = pyro.sample("latent", dist.Normal(batch.new_zeros(self.z_dim), 1.0).to_event(1))
            pyro.sample("obs", dist.Bernoulli(self.decoder(z)).to_event(1), obs=batch)

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", self.full_size, subsample=x) as batch:
            loc, scale = self.encoder(batch)
            pyro.sample("latent", dist.Normal(loc, scale).to_event(1))


class ConvolutionalDecoder(HandWritten):
    """A decoder that takes exactly one batch dimension: vectorized particles cannot pass through it."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Sequential(
            nn.Linear(5, 4 * 16), nn.Unflatten(1, (4, 4, 4)), nn.Upsample(scale_factor=2), nn.Conv2d(4, 1, 3, padding=1)
        )

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(5), 1.0).to_event(1))
            pyro.sample("obs", dist.Bernoulli(logits=self.decoder(z)).to_event(3), obs=x)


class Items(Dataset):
    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index]


PAIRS = [HandWritten, Unregistered, Subsampled, ConvolutionalDecoder]


def data_for(pair, rows=100):
    shape = (1, 8, 8) if isinstance(pair, ConvolutionalDecoder) else (64,)
    return torch.bernoulli(torch.full((rows, *shape), 0.3))


@pytest.mark.parametrize("make", PAIRS)
@pytest.mark.parametrize("objective", [None, Trace_ELBO(), TraceGraph_ELBO()], ids=["default", "trace", "graph"])
def test_fit_improves_the_elbo(make, objective):
    pair = make()
    x = data_for(pair)
    before = pyvae.elbo(pair, x, seed=0).value
    result = pyvae.fit(pair, x, objective=objective, epochs=5, batch_size=32, seed=0, progress=False)
    after = pyvae.elbo(pair, x, seed=0)
    assert after.value > before + 1
    row = result.history[-1]
    assert row["train_elbo"] == pytest.approx(row["train_reconstruction"] - row["train_kl"])
    assert abs(row["train_elbo"] - after.value) < 3  # per datapoint, whatever the plate's scale
    assert pyvae.log_likelihood(pair, x, seed=0).value > after.value
    assert pyvae.evaluate(pair, x).figures()["num_data"] == len(x)


def test_grey_values_train_where_validation_is_off_with_a_warning():
    """As in Pyro's own example, whose likelihood is Bernoulli(…, validate_args=False) on grey images."""
    pair, x = HandWritten(), torch.rand(50, 64)
    with pytest.warns(UserWarning, match="strictly between 0 and 1"):
        pyvae.fit(pair, x, epochs=1, progress=False)
    assert pyvae.evaluate(pair, x, seed=0).elbo.value < 0


def test_default_objective_has_analytic_kl():
    x = data_for(HandWritten())
    from pyvae.inspection.inspection import inspect_pair
    from pyvae.objectives import default_objective

    assert type(default_objective(inspect_pair(HandWritten(), (x,)))) is TraceMeanField_ELBO


@pytest.mark.parametrize("make", PAIRS)
def test_weights_equal_those_of_unscaled_traces(make):
    """Against Pyro's own log_prob_sum of one datapoint at a time, replaying the same latents."""
    pair = make()
    x = data_for(pair, rows=3)
    from pyro import poutine

    pyro.set_rng_seed(1)
    weights = pyvae.log_weights(pair, x, num_particles=4)
    assert weights.shape == (4, 3)
    expected = []
    for n in range(3):
        one = x[n : n + 1]
        draws = []
        for _ in range(400):
            guide = poutine.trace(pair.guide).get_trace(one)
            model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(one)
            scale = 1000 if isinstance(pair, Subsampled) else 1
            draws.append((model.log_prob_sum() - guide.log_prob_sum()).item() / scale)
        draws = torch.tensor(draws)
        expected.append((draws.mean(), draws.std()))
    many = pyvae.log_weights(pair, x, num_particles=2000)
    for n, (mean, spread) in enumerate(expected):
        assert abs(many[:, n].mean() - mean) < 4 * spread * (1 / 400 + 1 / 2000) ** 0.5
        assert many[:, n].std() == pytest.approx(spread.item(), rel=0.2)


@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: (x,), TensorDataset, Items, lambda x: DataLoader(Items(x), 32)]
)
def test_data_come_in_many_forms(wrap):
    pair = HandWritten()
    data = wrap(data_for(pair))
    result = pyvae.fit(pair, data, validation=data, epochs=2, batch_size=32, seed=0, progress=False)
    assert result.history[-1]["validation_elbo"] < 0
    assert len(pyvae.elbo(pair, data).per_datapoint) == 100


def test_renyi_bound_and_particles_train():
    pair = HandWritten()
    x = data_for(pair)
    bound = RenyiELBO(alpha=0, num_particles=3, vectorize_particles=True)
    history = pyvae.fit(pair, x, objective=bound, epochs=3, batch_size=32, progress=False).history
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert "train_kl" not in history[0]
    particles = Trace_ELBO(num_particles=3, vectorize_particles=True)
    row = pyvae.fit(pair, x, objective=particles, epochs=1, batch_size=32, progress=False).history[-1]
    assert abs(row["train_reconstruction"] - float(pyvae.elbo(pair, x).reconstruction.mean())) < 3


def test_another_models_entries_in_the_param_store_do_no_harm():
    first, x = HandWritten(), data_for(HandWritten())
    svi = SVI(first.model, first.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    svi.step(x)
    second = HandWritten()
    names = set(pyro.get_param_store())
    before = [p.detach().clone() for p in first.parameters()]
    pyvae.fit(second, x, epochs=1, batch_size=50, seed=0, progress=False)
    pyvae.elbo(second, x)
    assert set(pyro.get_param_store()) == names
    assert all(torch.equal(p, q) for p, q in zip(before, first.parameters(), strict=True))


def test_parameters_that_live_in_the_store_alone_are_used_by_evaluation():
    class Bare(HandWritten):
        def model(self, x):
            bias = pyro.param("bias", torch.zeros(64))
            with pyro.plate("data", x.shape[0]):
                z = pyro.sample("latent", dist.Normal(x.new_zeros(5), 1.0).to_event(1))
                logits = torch.logit(self.decoder(z)) + bias
                pyro.sample("obs", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    pair, x = Bare(), torch.ones(20, 64)
    low = pyvae.elbo(pair, x, seed=0).value
    pyro.param("bias", torch.full((64,), 5.0))
    assert pyvae.elbo(pair, x, seed=0).value > low + 30


def test_evaluation_leaves_streams_modes_and_store_alone():
    pair = HandWritten()
    pair.train()
    x = data_for(pair)
    state, names = torch.get_rng_state(), set(pyro.get_param_store())
    pyvae.evaluate(pair, x, seed=3)
    pyvae.fit(pair, x, epochs=1, seed=3, progress=False)
    assert torch.equal(state, torch.get_rng_state())
    assert pair.training
    assert all(m.training for m in pair.modules())
    assert set(pyro.get_param_store()) == names
