"""Idioms of Pyro's tutorials: plates without a size, loops over the data, images, parameters by pyro.param."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyvae


class Pair(nn.Module):
    """z ~ N(0, I), x ~ N(W z, 1) of any shape; the plate and the events are what differs."""

    def __init__(self, shape=(4,), plate=lambda x: pyro.plate("data", len(x)), events=None):
        super().__init__()
        self.shape, self.plate, self.events = shape, plate, len(shape) if events is None else events
        self.w = nn.Parameter(torch.randn(2, torch.Size(shape).numel()))
        self.v = nn.Parameter(torch.randn(torch.Size(shape).numel(), 2) / 9)

    def model(self, x):
        with self.plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            mean = (z @ self.w).unflatten(-1, self.shape)
            pyro.sample("x", dist.Normal(mean, 1.0).to_event(self.events), obs=x)

    def guide(self, x):
        with self.plate(x):
            pyro.sample("z", dist.Normal(x.flatten(1) @ self.v, 0.5).to_event(1))


class Inner(Pair):
    """Two plates, neither with a size; the inner one has a latent for each of 3 parts."""

    def model(self, x):
        with self.plate(x):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
            with pyro.plate("parts", dim=-2):
                u = pyro.sample("u", dist.Normal(x.new_zeros(3, len(x)), 1.0))
            pyro.sample("x", dist.Normal(z @ self.w + u.sum(-2)[..., None], 1.0).to_event(1), obs=x)

    def guide(self, x):
        with self.plate(x):
            pyro.sample("z", dist.Normal(x @ self.v, 0.5).to_event(1))
            with pyro.plate("parts", dim=-2):
                pyro.sample("u", dist.Normal(x.mean(-1).expand(3, -1), 0.7))


UNSIZED = {
    "vector": lambda plate: Pair((4,), plate),
    "image": lambda plate: Pair((1, 3, 2), plate),
    "two plates": lambda plate: Inner((4,), plate),
}
TOOLS = {
    "elbo": lambda p, x: pyvae.elbo(p, x, num_particles=3, seed=0).value,
    "log_likelihood": lambda p, x: pyvae.log_likelihood(p, x, num_particles=3, seed=0).value,
    "fit": lambda p, x: pyvae.fit(p, x, validation=x, epochs=2, batch_size=16, seed=0, progress=False).history[-1],
    "weighted": lambda p, x: pyvae.fit(
        p, x, objective=pyvae.objectives.WeightedELBO(0.5, 0.1), epochs=1, seed=0, progress=False
    ).history[-1],
    "bound": lambda p, x: pyvae.fit(
        p, x, objective=pyvae.objectives.ImportanceWeightedELBO(3), epochs=1, seed=0, progress=False
    ).history[-1],
    "draws": lambda p, x: float(pyvae.to_inference_data(p, x, num_samples=5, seed=0).posterior["z"].sum()),
    "diagnose": lambda p, x: pyvae.diagnose(p, x, num_particles=25, seed=0).to_dataframe()["value"].to_dict(),
}


@pytest.mark.parametrize("kind", UNSIZED)
@pytest.mark.parametrize("tool", TOOLS)
def test_a_plate_without_a_size_is_as_good_as_one_with(kind, tool):
    sized, unsized = (
        UNSIZED[kind](plate) for plate in (lambda x: pyro.plate("data", len(x)), lambda _: pyro.plate("data"))
    )
    unsized.load_state_dict(sized.state_dict())
    x = torch.randn(40, *sized.shape)
    found = []
    for pair in (sized, unsized):
        pyro.set_rng_seed(0)
        found.append(TOOLS[tool](pair, x))
    assert found[1] == pytest.approx(found[0], rel=1e-5, nan_ok=True)


def test_a_plate_without_a_size_whose_sites_are_not_as_long_as_the_data_is_no_plate_over_them():
    class Shared(Pair):
        def model(self, x):
            with self.plate(x):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal((z @ self.w).expand_as(x), 1.0).to_event(1), obs=x)

        def guide(self, x):
            with self.plate(x):
                pyro.sample("z", dist.Normal((x @ self.v).mean(0), 0.5).to_event(1))

    with pytest.raises(pyvae.PairError, match=r"site 'z' .* lies outside of the data plate"):
        pyvae.elbo(Shared(plate=lambda _: pyro.plate("data")), torch.randn(20, 4))


class Loop(Pair):
    def model(self, x):
        for i in pyro.plate("data", len(x)):
            z = pyro.sample(f"z_{i}", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample(f"x_{i}", dist.Normal(z @ self.w, 1.0).to_event(1), obs=x[i])

    def guide(self, x):
        for i in pyro.plate("data", len(x)):
            pyro.sample(f"z_{i}", dist.Normal(x[i] @ self.v, 0.5).to_event(1))


class LoopOfSome(Loop):
    """A global latent, and a loop over the data in the model alone, some of them at a time."""

    def model(self, x):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        for i in pyro.plate("rows", len(x), subsample_size=3):
            pyro.sample(f"x_{i}", dist.Normal(z @ self.w, 1.0).to_event(1), obs=x[i])

    def guide(self, x):
        pyro.sample("z", dist.Normal(self.v[0], 0.5).to_event(1))


@pytest.mark.parametrize("make", [Loop, LoopOfSome])
@pytest.mark.parametrize("tool", ["elbo", "log_likelihood", "fit", "draws", "diagnose"])
def test_a_loop_over_the_data_is_told_to_be_vectorized(make, tool):
    with pytest.raises(pyvae.PairError, match=r"loop over the data.*vectorize it, with pyro.plate\('\w+', len\(x\)\)"):
        TOOLS[tool](make(), torch.randn(12, 4))


def test_a_loop_over_something_else_is_none():
    class Steps(Pair):
        def model(self, x):
            with self.plate(x):
                z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
                for t in pyro.plate("steps", 4):
                    pyro.sample(f"x_{t}", dist.Normal((z @ self.w)[..., t], 1.0), obs=x[:, t])

    pair, x = Steps(), torch.randn(4, 4)  # of as many steps as data
    plain = Pair()
    plain.load_state_dict(pair.state_dict())
    assert pyvae.elbo(pair, x, seed=0).value == pytest.approx(pyvae.elbo(plain, x, seed=0).value, rel=1e-5)
    pyvae.fit(pair, x, epochs=1, progress=False)


@pytest.mark.parametrize("unsized", [False, True])
@pytest.mark.parametrize(
    ("shape", "events"), [((1, 5, 3), 1), ((1, 5, 3), 0), ((1, 5, 3), 2), ((20, 20), 1), ((6,), 0)]
)
@pytest.mark.parametrize("tool", ["elbo", "log_likelihood", "fit", "diagnose"])
def test_too_few_event_dimensions_are_told_how_many(unsized, shape, events, tool):
    """Also where a side of the image is as long as the data."""
    plate = (lambda x: pyro.plate("data")) if unsized else (lambda x: pyro.plate("data", len(x)))
    with pytest.raises((pyvae.PairError, pyvae.DataError), match=rf"(?s)site '?x\b.*use .to_event\({len(shape)}\)"):
        TOOLS[tool](Pair(shape, plate, events), torch.randn(20, *shape))


def test_a_latent_without_its_event_dimension():
    class Flat(Pair):
        def guide(self, x):
            with self.plate(x):
                pyro.sample("z", dist.Normal(x @ self.v, 0.5))

    with pytest.raises(pyvae.PairError, match=r"(?s)site z .*use .to_event\(1\)"):
        pyvae.fit(Flat(), torch.randn(20, 4), epochs=1, progress=False)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            {},
            r"write self\.bias = torch\.nn\.Parameter\(…\) with the first value, of shape \(4,\); then use self\.bias",
        ),
        (
            {"constraint": dist.constraints.positive},
            r"write self\.bias = pyro\.nn\.PyroParam\(…, constraint=GreaterThan.*of shape \(4,\); then use self\.bias",
        ),
    ],
)
def test_parameters_by_pyro_param_are_told_to_be_attributes(arguments, line):
    class Bare(Pair):
        def model(self, x):
            bias = pyro.param("bias", torch.ones(4), **arguments)
            with self.plate(x):
                z = pyro.sample("z", dist.Normal(x.new_zeros(len(x), 2), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z @ self.w + bias, 1.0).to_event(1), obs=x)

    with pytest.raises(pyvae.PairError, match=rf"\['bias'\] live in Pyro's param store alone.*{line}"):
        pyvae.fit(Bare(), torch.randn(20, 4), epochs=1, progress=False)
