"""Any pair as a container for ArviZ, and ArviZ at work on it."""

import datetime
import json
import subprocess
import sys

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray
from pyro import poutine
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pyvae
from pyvae import recipes
from pyvae.errors import ArgumentError, PairError
from tests.clients.converted import SSVAE, DeepMarkovModel, Line, groups
from tests.clients.test_pyro_tutorial_vae import PAIRS, data_for

SHAPE, ROWS = (1, 8, 8), 9
ALWAYS = {"posterior", "posterior_predictive", "prior", "prior_predictive", "sample_stats", "observed_data", "figures"}


def images():
    return torch.rand(ROWS, *SHAPE).round()


def cases():
    """Pairs of every family, data, the latents, what they are observed as, and the codes among them."""
    y = torch.arange(ROWS) % 3
    incomplete = torch.randn(ROWS, 6).masked_fill(torch.rand(ROWS, 6) < 0.3, float("nan"))
    lengths = (torch.arange(4) < torch.arange(ROWS)[:, None] % 4 + 1).float()
    ladder = {"z_1", "z_2", "z_3"}
    chain = {"x_1", "x_2", "x_3"}
    levels = {f"{site}_{level}" for site in "kz" for level in ("top", "bottom")}
    vq = {"num_codes": 8, "channels": [4, 4]}
    return {
        "gaussian": (recipes.gaussian(SHAPE, 2, [8]), images(), {"z"}, {"x"}, set()),
        "conditional": (recipes.conditional(SHAPE, 3, 2, [8]), (images(), y), {"z"}, {"x"}, set()),
        "hierarchical": (recipes.hierarchical(SHAPE), images(), ladder, {"x"}, set()),
        "ladder": (recipes.ladder(SHAPE), images(), ladder, {"x"}, set()),
        "diffusion": (recipes.diffusion(SHAPE, steps=3, channels=[4]), images(), chain, {"x_0"}, set()),
        "vqvae": (recipes.vqvae(SHAPE, **vq), images(), {"k", "z"}, {"x"}, {"k"}),
        "vqvae2": (recipes.vqvae2(SHAPE, **vq), images(), levels, {"x"}, {"k_top", "k_bottom"}),
        "labels": (recipes.semi_supervised(SHAPE, 3, 2, [8]), (images(), y - 1), {"y", "z"}, {"x"}, {"y"}),
        "incomplete": (recipes.incomplete((6,), 2, [8]), incomplete, {"z"}, {"x"}, set()),
        "deep Markov": (
            DeepMarkovModel(),
            (torch.rand(ROWS, 4, 3).round(), lengths),
            {f"z_{t}" for t in range(1, 5)},
            {f"obs_x_{t}" for t in range(1, 5)},
            set(),
        ),
        "unlabelled": (SSVAE(), torch.rand(ROWS, 12).round(), {"y", "z"}, {"x"}, {"y"}),
        "labelled": (SSVAE(), (torch.rand(ROWS, 12).round(), torch.eye(3)[y]), {"z"}, {"x", "y"}, set()),
        "line": (Line(), torch.randn(ROWS, 4), {"z"}, {"x"}, set()),
        **{make.__name__: (make(), data_for(make(), ROWS), {"latent"}, {"obs"}, set()) for make in PAIRS},
    }


@pytest.fixture(params=list(cases()))
def case(request):
    pyro.set_rng_seed(0)
    return cases()[request.param]


def test_every_family_has_all_groups_by_name(case):
    pair, data, latents, observed, codes = case
    tree = pyvae.to_inference_data(pair, data, num_samples=6, predictive=(4, 5), seed=0)
    further = () if isinstance(data, torch.Tensor) else data[1:]
    constants = [t for t in further if "y" not in observed]
    assert groups(tree) == ALWAYS | ({"constant_data"} if constants else set())
    if constants:
        assert set(tree["constant_data"].data_vars) == {"mini_batch_mask" if len(latents) == 4 else "y"}
    assert set(tree["posterior"].data_vars) == set(tree["prior"].data_vars) == latents
    for name in ("posterior_predictive", "prior_predictive", "observed_data"):
        assert set(tree[name].data_vars) == observed
    for name in latents:
        posterior, prior = tree["posterior"][name], tree["prior"][name]
        assert posterior.dims[:3] == prior.dims[:3] == ("chain", "draw", "obs_id")
        assert (posterior.shape[:3], prior.shape[:3]) == ((1, 6, ROWS), (1, 4, 5))
        assert posterior.shape[3:] == prior.shape[3:]
        assert (posterior.dtype.kind == "i") == (name in codes)
        assert set(posterior.dims) == set(posterior.coords)
    for name in observed:
        assert tree["posterior_predictive"][name].shape == (1, 4, 5, *tree["observed_data"][name].shape[1:])
    stats = tree["sample_stats"]
    assert {stats[name].shape for name in ("lp", "log_q", "log_weight")} == {(1, 6, ROWS)}
    assert np.isfinite(stats["log_weight"].values).all()
    assert "log_likelihood" not in groups(tree)


@pytest.mark.parametrize("name", ["gaussian", "conditional", "deep Markov", "labelled", "line", "Subsampled"])
def test_densities_are_those_of_the_draws(name):
    """Against Pyro's own, of the draws that the container holds."""
    pair, data, *_ = cases()[name]
    args = (data,) if isinstance(data, torch.Tensor) else data
    tree = pyvae.to_inference_data(pair, data, num_samples=3, predictive=None, seed=0)
    scale = pair.full_size / ROWS if name == "Subsampled" else 1
    for draw in range(3):
        # NaN where the mask is, of which no density knows
        latents = {n: torch.from_numpy(v.values[0, draw]).nan_to_num() for n, v in tree["posterior"].data_vars.items()}
        if name == "line":
            latents = {"z": latents["z"][:, None]}
        found = []
        for program in (pair.model, pair.guide):
            found.append(poutine.trace(poutine.condition(program, data=latents)).get_trace(*args).log_prob_sum().item())
        stats = tree["sample_stats"].isel(chain=0, draw=draw)
        assert stats["lp"].sum() * scale == pytest.approx(found[0], rel=1e-5)
        assert stats["log_q"].sum() * scale == pytest.approx(found[1], rel=1e-4, abs=1e-3)


def test_predictive_draws_are_of_the_draws_of_the_same_index():
    pair, x = Line(), torch.randn(70, 4)  # more than one batch
    tree = pyvae.to_inference_data(pair, x, num_samples=8, predictive=(5, 66), seed=0)
    w = pair.w.detach().numpy()
    z = tree["posterior"]["z"].values[:, :5, :66]
    np.testing.assert_allclose(tree["posterior_predictive"]["x"].values, z[..., None] * w, atol=0.03)  # 6 σ and more
    prior = tree["prior"]["z"].values
    np.testing.assert_allclose(tree["prior_predictive"]["x"].values, prior[..., None] * w, atol=0.03)
    assert abs(prior.std() - 1) < 0.3  # of 330 draws: 7 standard errors
    assert tree["posterior"]["z"].dims == ("chain", "draw", "obs_id")
    assert tree["observed_data"]["x"].dims == ("obs_id", "pixels")
    np.testing.assert_array_equal(tree["observed_data"]["x"].values, x.numpy())


def test_figures_are_those_of_the_same_draws():
    pair, x = recipes.gaussian(SHAPE, 2, [8]), torch.rand(100, *SHAPE).round()
    tree = pyvae.to_inference_data(pair, x, num_samples=50, predictive=None, seed=0)
    figures, log_weight = tree["figures"], torch.from_numpy(tree["sample_stats"]["log_weight"].values[0])
    np.testing.assert_allclose(figures["elbo"], log_weight.mean(0))
    bound = log_weight.logsumexp(0) - np.log(50)
    np.testing.assert_allclose(figures["importance_weighted_bound"], bound)
    assert figures.attrs["elbo"] == pytest.approx(log_weight.mean().item())
    assert figures.attrs["importance_weighted_bound"] == pytest.approx(bound.mean().item())
    np.testing.assert_allclose(figures["pareto_k"], pyvae.diagnostics.pareto_smoothed(log_weight)[1])
    assert ((figures["effective_sample_size"] > 1) & (figures["effective_sample_size"] <= 50)).all()
    estimate = pyvae.elbo(pair, x, num_particles=50, seed=1)
    assert abs(estimate.value - figures.attrs["elbo"]) < 5 * np.hypot(
        estimate.standard_error, figures.attrs["elbo_standard_error"]
    )


def test_attributes_coordinates_and_names():
    pair, y = recipes.conditional(SHAPE, 3, 2, [8]), torch.arange(ROWS) % 3
    names = [f"digit {n}" for n in range(ROWS)]
    tree = pyvae.to_inference_data(
        pair,
        (images(), y),
        num_samples=4,
        predictive=(2, 3),
        dims={"x": ["channel", "row", "column"], "z": ["latent"]},
        coords={"obs_id": names, "latent": ["slant", "width"]},
        seed=3,
    )
    attributes = tree.attrs
    assert attributes["inference_library"] == "pyvae"
    assert attributes["seed"] == 3
    assert attributes["data_plate"] == "data"
    assert json.loads(attributes["recipe"])["name"] == "conditional"
    created = datetime.datetime.fromisoformat(attributes["created_at"])
    assert created.utcoffset() == datetime.timedelta(0)
    assert tree["posterior"]["z"].dims == ("chain", "draw", "obs_id", "latent")
    assert tree["observed_data"]["x"].dims == ("obs_id", "channel", "row", "column")
    assert list(tree["posterior"]["obs_id"].values) == names
    assert list(tree["prior_predictive"]["obs_id"].values) == names[:3]
    assert tree["prior_predictive"].attrs["num_data"] == 3
    assert list(tree["posterior"]["z"].sel(latent="width", obs_id="digit 4").shape) == [1, 4]
    np.testing.assert_array_equal(tree["constant_data"]["y"].values, y.numpy())


def test_arviz_works_on_it_and_reads_back_what_was_written(tmp_path):
    pair = recipes.vqvae(SHAPE, num_codes=8, channels=[4, 4])
    for one, sites in ((recipes.gaussian(SHAPE, 2, [8]), ["z"]), (pair, ["k"])):
        tree = pyvae.to_inference_data(one, images(), num_samples=30, predictive=(4, 5), seed=0)
        path = tmp_path / f"{sites[0]}.nc"
        tree.to_netcdf(path)
        read = az.from_netcdf(path)
        assert groups(read) == groups(tree)
        for name in groups(tree):
            for variable, values in tree[name].data_vars.items():
                assert read[name][variable].dtype == values.dtype
                np.testing.assert_array_equal(read[name][variable].values, values.values)
        assert read.attrs["recipe"] == tree.attrs["recipe"]
        table = az.summary(read, var_names=sites)
        assert len(table) == read["posterior"][sites[0]][0, 0].size
        assert az.extract(read, var_names=sites, num_samples=10).sizes["sample"] == 10


def test_zarr_round_trip(tmp_path):
    pytest.importorskip("zarr")
    tree = pyvae.to_inference_data(recipes.gaussian(SHAPE, 2, [8]), images(), num_samples=30, seed=0)
    as_tree = tree.to_datatree() if hasattr(tree, "to_datatree") else tree  # ArviZ 0.x itself writes zarr 2 alone
    as_tree.to_zarr(tmp_path / "tree.zarr")
    read = xarray.open_datatree(tmp_path / "tree.zarr", engine="zarr")
    np.testing.assert_array_equal(read["posterior"]["z"].values, tree["posterior"]["z"].values)


def test_the_seed_governs_and_nothing_global_changes():
    pair, x = recipes.gaussian(SHAPE, 2, [8]), images()
    pair.train()
    state, store = torch.get_rng_state(), set(pyro.get_param_store())
    first, again, other = (
        pyvae.to_inference_data(pair, x, num_samples=5, predictive=(2, 2), seed=s) for s in (1, 1, 2)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert pair.training
    assert set(pyro.get_param_store()) == store
    for group, name in (("posterior", "z"), ("prior_predictive", "x"), ("sample_stats", "lp")):
        np.testing.assert_array_equal(first[group][name].values, again[group][name].values)
        assert not np.array_equal(first[group][name].values, other[group][name].values)
    unseeded = pyvae.to_inference_data(pair, x, num_samples=5, predictive=(2, 2))
    told = pyvae.to_inference_data(pair, x, num_samples=5, predictive=(2, 2), seed=unseeded.attrs["seed"])
    np.testing.assert_array_equal(unseeded["posterior"]["z"].values, told["posterior"]["z"].values)


def test_data_may_come_from_a_loader_and_sites_may_be_left_out():
    pair, x = recipes.ladder(SHAPE), torch.rand(20, *SHAPE).round()
    loader = DataLoader(TensorDataset(x), batch_size=8)
    tree = pyvae.to_inference_data(pair, loader, num_samples=3, predictive=(2, 10), sites=["z_2"], seed=0)
    assert set(tree["posterior"].data_vars) == {"z_2"}
    assert tree["prior_predictive"].sizes["obs_id"] == 10
    np.testing.assert_array_equal(tree["observed_data"]["x"].values, x.numpy())


def test_importing_pyvae_imports_neither_arviz_nor_xarray():
    code = "import sys, pyvae; print({'arviz', 'xarray'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


def test_conditional_densities_on_request_with_a_warning_in_the_attributes():
    pair, data, *_ = cases()["labelled"]
    tree = pyvae.to_inference_data(pair, data, num_samples=3, predictive=None, log_likelihood=True, seed=0)
    group = tree["log_likelihood"]
    assert set(group.data_vars) == {"x", "y"}
    assert group["x"].dims == ("chain", "draw", "obs_id")
    np.testing.assert_allclose(group["y"].values, -np.log(3), rtol=1e-6)
    reconstruction = (group["x"] + group["y"]).mean(("chain", "draw"))
    np.testing.assert_allclose(reconstruction, tree["figures"]["reconstruction"])
    assert "leave-one-out" in group.attrs["warning"]


class Lagged(nn.Module):
    """x_2 given x_1, which the model takes from the data."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x_1", dist.Normal(z, 1.0), obs=x[:, 0])
            pyro.sample("x_2", dist.Normal(x[:, 0], 1.0), obs=x[:, 1])

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.mean(-1), 1.0))


def test_a_model_that_reads_its_data_has_no_predictive_groups():
    with pytest.warns(UserWarning, match="cannot draw data of its own"):
        tree = pyvae.to_inference_data(Lagged(), torch.randn(5, 2), num_samples=3, seed=0)
    assert groups(tree) == {"posterior", "sample_stats", "observed_data", "figures"}
    assert "cannot draw data" in tree.attrs["left_out"]


class Unplated(Lagged):
    def model(self, x):
        pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(0.0, 1.0).expand([2]).to_event(1), obs=x)

    def guide(self, x):
        pyro.sample("z", dist.Normal(x.mean(-1), 1.0).to_event(1))


class Unnamed(Lagged):
    def model(self, x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0))
            pyro.sample("x", dist.Normal(torch.zeros(2), 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(x, 1.0))


class Point(Lagged):
    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[:, None].expand(-1, 2), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Delta(x.mean(-1)))


class Draw(Lagged):
    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("draw", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("draw", dist.Normal(x.mean(-1), 1.0))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (Unplated, "'z' of the guide lies outside of the data plate"),
        (Unnamed, "'z' has batch shape .* of no pyro.plate"),
        (Point, "'z' of the guide is a Delta"),
        (Draw, "'draw' cannot be converted: there is a dimension of that name"),
    ],
)
def test_what_cannot_be_converted_is_told_by_its_site(make, match):
    with pytest.raises(PairError, match=match) as error:
        pyvae.to_inference_data(make(), torch.randn(5, 2), num_samples=3)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"num_samples": 0}, "num_samples is 0"),
        ({"num_samples": 10**7}, r"GiB would be made .* Lower num_samples, .* sites"),
        ({"max_memory": 1000}, "MiB would be made of 9 datapoints and 100 samples"),
        ({"predictive": 5}, "predictive is 5"),
        ({"predictive": (0, 5)}, "predictive is 0"),
        ({"sites": ["w"]}, r"sites is \['w'\]; expected a list of some of \['z'\]"),
        ({"dims": {"w": ["a"]}}, r"dims names \['w'\]; the variables are \['z', 'x'\]"),
        ({"dims": {"z": ["a", "b"]}}, "expected 1 names"),
        ({"dims": {"x": ["x", "row", "column"]}}, "a dimension of that name"),
        ({"dims": {"x": ["c", "r", "r"]}}, r"dimensions of 'x' are .*'c', 'r', 'r'\); expected each once"),
        ({"dims": {"z": ["obs_id"]}}, "dimensions of 'z' are .*expected each once"),
        ({"coords": {"obs_id": [1, 2]}}, "expected 9 entries"),
        (
            {"dims": {"x": ["c", "r", "s"]}, "coords": {"r": range(8), "foo": [1]}},
            r"coords names \['foo'\]; the dimensions are \['chain', 'draw', 'obs_id', 'z_dim_0', 'c', 'r', 's'\]",
        ),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, match):
    with pytest.raises((ArgumentError, PairError), match=match):
        pyvae.to_inference_data(recipes.gaussian(SHAPE, 2, [8]), images(), **arguments)


def test_dimensions_of_further_tensors_have_coordinates_too():
    pair, data, *_ = cases()["deep Markov"]
    coords = {"mini_batch_mask_dim_0": list("abcd"), "chain": ["only"]}
    tree = pyvae.to_inference_data(pair, data, num_samples=3, coords=coords, seed=0)
    assert list(tree["constant_data"]["mini_batch_mask_dim_0"].values) == list("abcd")
    assert list(tree["posterior"]["chain"].values) == ["only"]
    with pytest.raises(ArgumentError, match=r"coords names \['mask'\].*'mini_batch_mask_dim_0'"):
        pyvae.to_inference_data(pair, data, num_samples=3, coords={"mask": list("abcd")})


def test_the_memory_of_a_stream_is_looked_at_as_it_comes():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from torch.rand(100, 5).round()

    pair = recipes.gaussian((5,), 2, [8])
    with pytest.raises(ArgumentError, match="Lower num_samples"):
        pyvae.to_inference_data(pair, DataLoader(Stream(), batch_size=10), max_memory=100_000, predictive=None)


class Undrawable(Lagged):
    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            p = dist.Normal(z, 1.0)
            p.__class__ = type("Improper", (dist.Normal,), {"rsample": self.refuse, "sample": self.refuse})
            pyro.sample("x", p, obs=x[:, 0])

    @staticmethod
    def refuse(*args, **kwargs):
        raise NotImplementedError("no draws of this law")


def test_a_likelihood_that_cannot_be_drawn_from_is_told_and_converts_without():
    x = torch.randn(5, 2)
    with pytest.raises(PairError, match=r"no draws of this law|pass predictive=None"):
        pyvae.to_inference_data(Undrawable(), x, num_samples=3)
    tree = pyvae.to_inference_data(Undrawable(), x, num_samples=3, predictive=None)
    assert groups(tree) == {"posterior", "sample_stats", "observed_data", "figures"}
