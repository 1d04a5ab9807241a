"""Parts of the data, factors of plates, and modes of modules: right, or refused with the line to write."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import RenyiELBO, TraceMeanField_ELBO
from torch import nn

import pyvae

N, T = 60, 4


def fit(pair, data, **arguments):
    return pyvae.fit(pair, data, **{"epochs": 2, "seed": 0, "progress": False, **arguments})


class Local(nn.Module):
    """z ~ N(0, 1), x_t ~ N(z, 1), and an amortized guide."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(T, 2)

    def drawn(self, x):
        loc, log_scale = self.encoder(x).unbind(-1)
        return dist.Normal(loc, log_scale.exp())

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None].expand(*z.shape, T), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", self.drawn(x))


class InParts(Local):
    """A plate in the data plate takes two of the four columns, in training or always."""

    def __init__(self, always):
        super().__init__()
        self.always = always

    def model(self, x):
        part = 2 if self.always or self.training else None
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
            with pyro.plate("time", T, subsample_size=part, dim=-1) as t:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, t])

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-2):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()))


@pytest.mark.parametrize("call", [pyvae.elbo, pyvae.log_likelihood, pyvae.evaluate])
def test_figures_of_a_part_are_refused(call):
    with pytest.raises(pyvae.PairError, match=r"plate 'time', which takes 2 of 4.*if self.training else None"):
        call(InParts(True), torch.randn(N, T))


def test_parts_in_training_alone_leave_figures_right():
    x, pair = torch.randn(N, T), InParts(False)
    fit(pair, x, validation=x)
    with torch.no_grad():  # the exact posterior
        pair.encoder.weight.copy_(torch.tensor([[1 / (T + 1)], [0.0]]))
        pair.encoder.bias.copy_(-torch.tensor([0.0, T + 1.0]).clamp(min=1).log() / 2)
    exact = dist.MultivariateNormal(torch.zeros(T), torch.eye(T) + 1).log_prob(x).mean()
    assert pyvae.log_likelihood(pair, x, num_particles=2).value == pytest.approx(float(exact), abs=1e-4)


def apart(latents, observed):
    """A pair whose latents and observations are in plates of their own: (name, whether it stands for all data)."""

    class Apart(Local):
        @staticmethod
        def plate(x, name, scaled):
            return pyro.plate(name, N, subsample=x) if scaled else pyro.plate(name, len(x))

        def model(self, x):
            with self.plate(x, *latents):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            p = dist.Normal(z[..., None].expand(*z.shape, T), 1.0)
            if observed is None:
                pyro.sample("x", p.to_event(2), obs=x)
            else:
                with self.plate(x, *observed):
                    pyro.sample("x", p.to_event(1), obs=x)

        def guide(self, x):
            with self.plate(x, *latents):
                pyro.sample("z", self.drawn(x))

    return Apart()


@pytest.mark.parametrize(
    ("latents", "observed"),
    [(("latent", True), ("obs", False)), (("batch", False), ("data", True)), (("latent", True), None)],
)
def test_latents_that_count_more_or_less_than_their_data_are_refused(latents, observed):
    with pytest.raises(pyvae.PairError, match=r"latent 'z' by [13] and that of the observed 'x' by [13].*same plate"):
        fit(apart(latents, observed), torch.randn(N, T), batch_size=20)


@pytest.mark.parametrize(("latents", "observed"), [(("a", True), ("b", True)), (("a", False), ("b", False))])
def test_latents_that_count_as_their_data_train(latents, observed):
    fit(apart(latents, observed), torch.randn(N, T), batch_size=20)


def test_a_scale_inside_of_a_logarithm_is_refused():
    class Scaled(Local):
        def model(self, x):
            with poutine.scale(scale=1 / N):
                super().model(x)

        def guide(self, x):
            with poutine.scale(scale=1 / N):
                super().guide(x)

    x, objective = torch.randn(N, T), RenyiELBO(alpha=0, num_particles=3, vectorize_particles=True)
    with pytest.raises(pyvae.PairError, match=r"scale of its own .*RenyiELBO takes inside of the logarithm"):
        fit(Scaled(), x, objective=objective)
    fit(Local(), x, objective=objective)


def test_rows_are_counted_over_the_slices_of_the_data():
    class Broken(Local):
        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                scale = torch.where(x[:, 0] == 7, 0.0, 1.0)[:, None]
                p = dist.Normal(z[..., None].expand(*z.shape, T), scale, validate_args=False)
                pyro.sample("x", p.to_event(1), obs=x)

    x = torch.randn(5000, T)
    x[4500, 0] = 7
    with pytest.raises(pyvae.NonFiniteError, match="in row 4500"):
        pyvae.elbo(Broken(), x, num_particles=2)


class Noted(Local):
    """The guide keeps a deterministic value."""

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.deterministic("twice", 2 * pyro.sample("z", self.drawn(x)))


def test_deterministic_sites_of_a_guide():
    x = torch.randn(N, T)
    fit(Noted(), x, validation=x)
    with pytest.raises(pyvae.PairError, match=r"\['twice'\].*TraceMeanField_ELBO has no term; use Trace_ELBO"):
        fit(Noted(), x, objective=TraceMeanField_ELBO())


def test_modules_that_rest_stay_at_rest():
    class Frozen(Local):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Linear(T, T), nn.BatchNorm1d(T), nn.Dropout(0.5))
            self.features(3 * torch.randn(N, T) + 5)
            self.features.eval().requires_grad_(False)

        def drawn(self, x):
            return super().drawn(self.features(x))

    pair, x = Frozen(), torch.randn(N, T)
    before = pair.features(x)
    fit(pair, x)
    assert torch.equal(pair.features(x), before)
    assert pair.training
    pair.eval()  # of a pair that rests as a whole, all of it is trained
    fit(pair, x)
    assert not torch.equal(pair.features(x), before)


def test_what_takes_all_rows_alone_trains_on_all_rows():
    """A Gaussian process on fixed inputs: the exact mean of f is K (K + I)⁻¹ y."""

    class Process(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc, self.log_scale = nn.Parameter(torch.zeros(6)), nn.Parameter(torch.full((6,), -1.0))
            t = torch.arange(6.0)
            self.register_buffer("kernel", (-(t[:, None] - t).square() / 2).exp() + 0.1 * torch.eye(6))

        def model(self, y):
            f = pyro.sample("f", dist.MultivariateNormal(torch.zeros(6), self.kernel))
            with pyro.plate("data", len(y)):
                pyro.sample("y", dist.Normal(f, 1.0), obs=y)

        def guide(self, y):
            pyro.sample("f", dist.Normal(self.loc, self.log_scale.exp()).to_event(1))

    pair, y = Process(), torch.randn(6)
    fast = lambda p: torch.optim.Adam(p, lr=0.02)
    fit(pair, y, batch_size=6, epochs=600, optimizer=fast, schedule="cosine")
    exact = pair.kernel @ torch.linalg.solve(pair.kernel + torch.eye(6), y)
    torch.testing.assert_close(pair.loc.detach(), exact, rtol=0, atol=0.1)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_gate_that_is_zero_hides_nothing(shape):
    class Gated(Local):
        def __init__(self):
            super().__init__()
            self.gate = nn.Parameter(torch.zeros(shape))

        def drawn(self, x):
            return super().drawn(x + self.gate * (x - x.mean(-2, keepdim=True)))

    with pytest.raises(pyvae.PairError, match="depends on the other rows of the batch"):
        fit(Gated(), torch.randn(N, T), batch_size=20)


def test_a_mask_that_the_guide_forgets_is_found_among_many_rows():
    class Forgetful(Local):
        def model(self, x, mask):
            with pyro.plate("data", len(x)):
                for t in range(T):
                    with poutine.mask(mask=mask[:, t]):
                        z = pyro.sample(f"z_{t}", dist.Normal(0.0, 1.0))
                        pyro.sample(f"x_{t}", dist.Normal(z, 0.5), obs=x[:, t])

        def guide(self, x, mask):
            with pyro.plate("data", len(x)):
                for t in range(T):
                    pyro.sample(f"z_{t}", dist.Normal(x[:, t] / 1.25, 0.3))

    x, mask = torch.randn(200, T), torch.ones(200, T, dtype=torch.bool)
    mask[60:160, 1:] = False
    x[5], x[6] = 5.0, -5.0
    with pytest.raises(pyvae.PairError, match="is masked in the model where it is not in the guide"):
        pyvae.elbo(Forgetful(), (x, mask))
