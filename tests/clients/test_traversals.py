"""Walks through latents: of a linear pair, where x is known, of hierarchies, and on the command line."""

import math
import re

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyvae
from pyvae import guides, likelihoods, networks, priors
from pyvae.cli.main import main
from pyvae.errors import ArgumentError, DataError, PairError
from pyvae.latent_space import encoding
from pyvae.latent_space.decoding import generate, latent_means, reconstruct

QUICK = ["--epochs=1", "--hidden=[8]", "--evaluation-particles=2", "--no-progress"]


class Given(nn.Module):
    """x ↦ (A x, log σ²) or, without σ, A x."""

    def __init__(self, matrix, log_variance=None):
        super().__init__()
        self.matrix, self.log_variance = matrix, log_variance

    def forward(self, x):
        y = x @ self.matrix.T
        return y if self.log_variance is None else torch.cat([y, torch.full_like(y, self.log_variance)], -1)


def linear_pair(prior=None):
    """A guide with the mean z = x, and E[x | z] = A z."""
    matrix = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0], [1.0, 0.0, 0.0]])
    posterior = guides.DiagonalNormal(Given(torch.eye(3), -1.0), 3)
    return pyvae.VAE(prior or priors.StandardNormal(3), likelihoods.Normal(Given(matrix), 3), posterior), matrix


def test_one_dimension_at_a_time():
    pair, matrix = linear_pair()
    x = torch.tensor([[0.3, -0.7, 1.1]])
    found = pyvae.traverse(pair, x, dims=[2, 0], values=[-1.5, 0.5])
    for i, dim in enumerate([2, 0]):
        for j, value in enumerate([-1.5, 0.5]):
            z = x[0].clone()
            z[dim] = value
            torch.testing.assert_close(found[i, j], matrix @ z)
    torch.testing.assert_close(pyvae.traverse(pair, (x,))[:, 0, 1], 3 * torch.tensor([-0.7, -2.0, -0.7]))
    assert pyvae.traverse(pair, x).shape == (3, 7, 3)


def test_values_are_in_standard_deviations_of_the_prior():
    mixture = priors.NormalMixture(3, num_components=2)
    with torch.no_grad():
        mixture.logits.copy_(torch.tensor([0.0, 0.0]))
        prior = mixture()
    pair, matrix = linear_pair(mixture)
    x = torch.tensor([[0.3, -0.7, 1.1]])
    found = pyvae.traverse(pair, x, dims=[1], values=[2.0])[0, 0]
    z = torch.tensor([0.3, (prior.mean[1] + 2 * prior.stddev[1]).item(), 1.1])
    torch.testing.assert_close(found, matrix @ z)
    flow, _ = linear_pair(priors.MaskedAutoregressiveFlow(3))  # which knows its moments by draws alone
    assert torch.equal(pyvae.traverse(flow, x), pyvae.traverse(flow, x))


def chain():
    """z_1 → z_2 → x, each the mean of the next by a known factor; beside them w → x."""
    return pyvae.MarkovVAE(
        prior=priors.StandardNormal(1),
        transitions=[priors.ConditionalNormal(Given(torch.tensor([[5.0]]), 0.0), 1)],
        likelihood=likelihoods.Normal(Given(torch.tensor([[7.0]])), 1),
        posterior=guides.DiagonalNormal(Given(torch.tensor([[0.5]]), -20.0), 1),
        reverse_transitions=[guides.DiagonalNormal(Given(torch.tensor([[0.1]]), -20.0), 1)],
    )


def test_lower_levels_follow_and_upper_ones_stay():
    x = torch.tensor([[0.8]])
    top = pyvae.traverse(chain(), x, site="z_1", values=[-1.0, 2.0])
    assert top.flatten().tolist() == pytest.approx([-35, 70])
    bottom = pyvae.traverse(chain(), x, site="z_2", values=[1.0])  # about the mean 5 · z_1 of its prior, of scale 1
    assert float(bottom) == pytest.approx(7 * (5 * 0.1 * 0.5 * 0.8 + 1), rel=1e-3)  # e⁻¹⁰ is the guide's scale
    with pytest.raises(PairError, match=r"several latent sites.*z_1, z_2"):
        pyvae.traverse(chain(), x)


class TwoSites(nn.Module):
    """Two latents that have nothing to do with each other, in plain Pyro."""

    def model(self, x=None, y=None, size=1):
        with pyro.plate("data", size if x is None else len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            w = pyro.sample("w", dist.Normal(0.0, 1.0))
            return pyro.sample("x", dist.Normal(z + 10 * w, 1.0), obs=x)

    def guide(self, x, y=None, size=1):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0))
            pyro.sample("w", dist.Normal(2 * x, 1.0))


def test_other_latents_keep_their_means():
    x = torch.tensor([3.0])
    assert pyvae.traverse(TwoSites(), x, site="z", values=[1.0]).item() == 1 + 10 * 6
    assert pyvae.traverse(TwoSites(), x, site="w", values=[1.0]).item() == 3 + 10
    assert pyvae.interpolate(TwoSites(), x, -x, steps=3).tolist() == [63, 0, -63]


class OwnNames(nn.Module):
    """w → u → obs, in names of one's own, with a second observed site; it need not return what it observes."""

    def __init__(self, returns=True):
        super().__init__()
        self.returns = returns

    def model(self, x=None, y=None, size=1):
        with pyro.plate("rows", size if x is None else len(x)):
            w = pyro.sample("w", dist.Normal(0.0, 1.0))
            u = pyro.sample("x", dist.Normal(5 * w, 1.0))
            if self.returns:
                pyro.sample("half", dist.Normal(u / 2, 1.0), obs=None if x is None else x / 2)
            obs = pyro.sample("obs", dist.Normal(7 * u, 1e-6), obs=x)
        return obs if self.returns else {"mean": 7 * u}

    def guide(self, x, y=None, size=1):
        with pyro.plate("rows", len(x)):
            w = pyro.sample("w", dist.Normal(x / 2, 1e-6))
            pyro.sample("x", dist.Normal(w / 10, 1e-6))


@pytest.mark.parametrize("returns", [True, False])
def test_sites_may_have_any_names(returns):
    pair, x = OwnNames(returns), torch.tensor([4.0])
    assert reconstruct(pair, [x]).item() == pytest.approx(7 * 0.2, rel=1e-3)
    assert pyvae.traverse(pair, x, site="w", values=[2.0]).item() == pytest.approx(7 * 5 * 2)  # what is below follows
    assert pyvae.traverse(pair, x, site="x", values=[0.0]).item() == pytest.approx(7 * 5 * 2, rel=1e-3)
    assert pyvae.interpolate(pair, x, -x, steps=3).tolist() == pytest.approx([1.4, 0, -1.4], rel=1e-3, abs=1e-3)
    drawn, mean = generate(pair, 20, mean=False), generate(pair, 20)
    torch.testing.assert_close(drawn, mean, rtol=1e-4, atol=1e-4)
    assert mean.std() > 7


def test_latents_are_encoded_by_any_name():
    x = torch.linspace(-1, 1, 20)
    split = pyvae.datasets.InMemory(x)
    data = pyvae.datasets.DataSplits("own", split, split, num_classes=0, levels=None)
    rows = torch.arange(20)
    torch.testing.assert_close(pyvae.encoded(data, OwnNames(), "w").train[rows][0], x / 2, rtol=0, atol=1e-4)
    with pytest.raises(PairError, match=r"continuous latents of OwnNames are \['w', 'x'\]; choose one as site"):
        pyvae.encoded(data, OwnNames())


def test_rows_are_encoded_where_the_pair_is_and_come_back(monkeypatch):
    data, vae = pyvae.datasets.digits(), pyvae.recipes.gaussian((1, 8, 8), 3, [8])
    latents = pyvae.encoded(data, vae)
    there, moves, original = torch.device("cpu", 0), [], torch.Tensor.to

    def to(self, *args, **options):
        moves.append((tuple(self.shape), args[0]))
        return original(self, *args, **options)

    monkeypatch.setattr(encoding, "device_of", lambda pair: there)
    monkeypatch.setattr(torch.Tensor, "to", to)
    z, _ = latents.train[torch.arange(5)]
    assert moves == [((5, 1, 8, 8), there), ((5, 3), torch.device("cpu"))]
    assert z.shape == (5, 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_pair_on_a_gpu_encodes_data_in_main_memory():
    data, vae = pyvae.datasets.digits(), pyvae.recipes.gaussian((1, 8, 8), 3, [8]).cuda()
    z, y = pyvae.encoded(data, vae).train[torch.arange(5)]
    assert (z.device, y.device) == (torch.device("cpu"), torch.device("cpu"))


class InStore(nn.Module):
    """z ↦ w z, with the guide's mean m x; w and m live in Pyro's param store alone. Its prior is given."""

    def __init__(self, prior=None):
        super().__init__()
        self.prior = prior or dist.Normal(0.0, 1.0)

    def model(self, x=None, y=None, size=1):
        w = pyro.param("w", torch.tensor(1.0))
        with pyro.plate("data", size if x is None else len(x)):
            z = pyro.sample("z", self.prior.expand([2]).to_event(1))
            return pyro.sample("x", dist.Normal(w * z, 1.0).to_event(1), obs=x)

    def guide(self, x, y=None, size=1):
        m = pyro.param("m", torch.tensor(0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(m * x, 0.7).to_event(1))


def test_what_is_trained_in_the_param_store_counts():
    pyro.param("w", torch.tensor(10.0))
    pyro.param("m", torch.tensor(2.0))
    pyro.param("another model's", torch.tensor(1.0))
    x = torch.tensor([[0.3, -0.7], [1.1, 0.2]])
    torch.testing.assert_close(pyvae.interpolate(InStore(), x[:1], x[1:], steps=2), 20 * x)
    walk = pyvae.traverse(InStore(), x[:1], dims=[1], values=[0.0, 1.0])[0]
    torch.testing.assert_close(walk, torch.tensor([[6.0, 0.0], [6.0, 10.0]]))
    torch.testing.assert_close(latent_means(InStore(), [x])["z"], 2 * x)
    torch.testing.assert_close(reconstruct(InStore(), [x]), 20 * x)
    assert set(pyro.get_param_store()) == {"w", "m", "another model's"}


@pytest.mark.parametrize(
    ("prior", "quartile"),
    [(dist.StudentT(2.0, 5.0, 3.0), 3 * 0.8165), (dist.Cauchy(5.0, 3.0), 3.0)],
)
def test_of_heavy_tails_median_and_quartiles_give_the_scale(prior, quartile):
    x = torch.tensor([[0.3, -0.7]])
    walk = pyvae.traverse(InStore(prior), x, dims=[1], values=[0.0, 1.349])[0, :, 1]
    assert walk.tolist() == pytest.approx([5, 5 + 2 * quartile], rel=0.15)  # by 1000 draws
    assert torch.equal(walk, pyvae.traverse(InStore(prior), x, dims=[1], values=[0.0, 1.349])[0, :, 1])


def test_dimensions_with_moments_keep_them_beside_those_without():
    pair = InStore(dist.StudentT(torch.tensor([2.0, 4.0])))
    walk = pyvae.traverse(pair, torch.tensor([[0.0, 0.0]]), values=[0.0, 1.0])
    assert walk.isfinite().all()
    assert walk[1, :, 1].tolist() == pytest.approx([0, math.sqrt(2)])


def test_a_step_of_a_diffusion():
    pair = pyvae.recipes.diffusion((1, 8, 8), steps=3, channels=[4])
    x = torch.rand(1, 1, 8, 8).round()
    assert pyvae.traverse(pair, x, site="x_3", dims=[0, 9], values=[-1.0, 1.0]).shape == (2, 2, 1, 8, 8)


def test_a_model_whose_dependencies_cannot_be_told_is_told():
    class Untold(TwoSites):
        def model(self, x=None, y=None, size=1):
            assert type(super().model(x, y, size)) is torch.Tensor, "a subclass of it"

    with pytest.raises(PairError, match=r"depends on 'z' in Untold\.model is unknown: a subclass of it"):
        pyvae.traverse(Untold(), torch.tensor([3.0]), site="z")


def test_interpolation_along_the_line_and_the_arc():
    pair, matrix = linear_pair()
    a, b = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.0]])
    line = pyvae.interpolate(pair, a, b, steps=3)
    torch.testing.assert_close(line, torch.stack([a[0], (a + b)[0] / 2, b[0]]) @ matrix.T)
    arc = pyvae.interpolate(pair, a, b, steps=4, spherical=True)
    z = torch.stack([math.cos(t * math.pi / 6) * a[0] + math.sin(t * math.pi / 6) * b[0] for t in range(4)])
    torch.testing.assert_close(arc, z @ matrix.T)
    same = pyvae.interpolate(pair, a, 3 * a, steps=3, spherical=True)
    torch.testing.assert_close(same, torch.tensor([[1.0], [2.0], [3.0]]) * (matrix @ a[0]))


def test_on_the_sphere():
    pair = pyvae.VAE(
        priors.HypersphericalUniform(3),
        likelihoods.Normal(Given(torch.eye(3)), 3),
        guides.PowerSpherical(networks.MLP(3, 4), 3),
    )
    a, b = torch.randn(2, 1, 3)
    with pytest.raises(ArgumentError, match=r"leaves the support.*spherical=True"):
        pyvae.traverse(pair, a)
    assert pyvae.interpolate(pair, a, b, spherical=True).shape == (8, 3)


def test_labels_are_kept():
    pair = pyvae.recipes.conditional((5,), num_classes=3, latent_dim=2, hidden=[4])
    x, y = torch.rand(1, 5).round(), torch.tensor([2])
    given = torch.nn.functional.one_hot(y, 3).float().expand(7, -1)
    z = torch.zeros(7, 2)
    z[:, 0] = torch.linspace(-2, 2, 7)
    z[:, 1] = pair.posterior(x, given[:1]).mean[:, 1]
    torch.testing.assert_close(pyvae.traverse(pair, (x, y), dims=[0])[0], pair.likelihood(z, given).mean)
    assert pyvae.interpolate(pair, (x, y), (1 - x, y), steps=4).shape == (4, 5)
    with pytest.raises(DataError, match="expected the same"):
        pyvae.interpolate(pair, (x, y), (x, 1 - y.clamp(max=1)))


def test_nothing_is_left_behind():
    pair = pyvae.recipes.ladder((5,), latent_dims=[2, 3], hidden=[4]).train()
    x = torch.rand(2, 5).round()
    before = torch.random.get_rng_state()
    first = pyvae.traverse(pair, x[:1], "z_1"), pyvae.interpolate(pair, x[:1], x[1:])
    assert torch.equal(before, torch.random.get_rng_state())
    torch.randn(3)
    second = pyvae.traverse(pair, x[:1], "z_1"), pyvae.interpolate(pair, x[:1], x[1:])
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(first, second, strict=True))
    assert pair.training


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p, x: pyvae.traverse(p, x.expand(2, -1)), DataError, r"\(2, 3\).*one datapoint"),
        (lambda p, x: pyvae.traverse(p, "x"), DataError, "got data of shape str"),
        (lambda p, x: pyvae.traverse(p, x, site="w"), PairError, "'w'; expected one of z"),
        (lambda p, x: pyvae.traverse(p, x, dims=[0, 3]), ArgumentError, r"dims are \[0, 3\].*0 to 2"),
        (lambda p, x: pyvae.traverse(p, x, dims=[-1]), ArgumentError, "-1"),
        (lambda p, x: pyvae.traverse(p, x, dims=[]), ArgumentError, r"dims are \[\]"),
        (lambda p, x: pyvae.traverse(p, x, dims=1), ArgumentError, "dims are 1; expected a list of some of 0 to 2"),
        (lambda p, x: pyvae.traverse(p, x, values=[]), ArgumentError, "one or more finite numbers"),
        (lambda p, x: pyvae.traverse(p, x, values=[math.nan]), ArgumentError, "one or more finite numbers"),
        (lambda p, x: pyvae.traverse(p, x, values=[1e300]), ArgumentError, "finite numbers of torch.float32"),
        (lambda p, x: pyvae.traverse(p, x, values="far"), ArgumentError, "'far'"),
        (lambda p, x: pyvae.interpolate(p, x, x, steps=1), ArgumentError, "steps is 1"),
        (lambda p, x: pyvae.interpolate(p, x, (x, x, x, x)), PairError, "failed on a batch"),
        (lambda p, x: pyvae.traverse(nn.Linear(3, 3), x), PairError, "Linear; expected a torch.nn.Module with"),
    ],
)
def test_bad_arguments_are_told(call, error, message):
    pair, _ = linear_pair()
    with pytest.raises(error, match=message):
        call(pair, torch.tensor([[0.3, -0.7, 1.1]]))


def test_codes_cannot_be_varied():
    pair = pyvae.recipes.vqvae((1, 8, 8), num_codes=4, channels=[4])
    x = torch.rand(1, 1, 8, 8)
    with pytest.raises(PairError, match="k, are codes"):
        pyvae.traverse(pair, x)
    with pytest.raises(PairError, match=r"'k'.*are codes"):
        pyvae.interpolate(pair, x, x)


def test_a_model_that_needs_x_is_told():
    class NeedsData(TwoSites):
        def model(self, x, y=None, size=1):
            return super().model(x + 0, y, size)

    with pytest.raises(PairError, match=r"NeedsData\.model failed without x"):
        pyvae.traverse(NeedsData(), torch.tensor([3.0]), site="z")


def test_a_model_without_labels_need_not_take_any():
    class Unlabelled(TwoSites):
        def model(self, x=None, size=1):
            return super().model(x, None, size)

    assert generate(Unlabelled(), 3).shape[0] == 3
    with pytest.raises(PairError, match=r"Unlabelled\.model failed without x, on some labels"):
        generate(Unlabelled(), 3, labels=torch.zeros(3))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert main(["fit", "gaussian", *QUICK, "--latent-dim=3", f"--run-dir={folder / 'plain'}"]) == 0
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(60, 5)))
    hierarchy = [f"--data={folder / 'x.npy'}", "--preprocessing=standardization", "--likelihood=Normal"]
    assert main(["fit", "hierarchical", *QUICK, *hierarchy, f"--run-dir={folder / 'hierarchy'}"]) == 0
    return folder


def test_on_the_command_line(runs, capsys):
    run = runs / "plain"
    assert main(["traverse", str(run)]) == 0
    assert main(["traverse", str(run)]) == 0
    assert (run / "traversal-1.png").read_bytes() == (run / "traversal-2.png").read_bytes()
    numbers = runs / "numbers.npy"
    assert main(["traverse", str(run), "--index=4", "--count=2", "--steps=5", f"--output={numbers}"]) == 0
    assert capsys.readouterr().out.split()[-1] == str(numbers)
    pair = pyvae.load(run / "model.safetensors")
    test = pyvae.datasets.dynamic_binarization(pyvae.datasets.digits()).without_labels().test.fixed()
    active = pyvae.diagnostics.posterior_means(pair, test)["z"].var(0).argsort(descending=True)[:2].tolist()
    expected = pyvae.traverse(pair, test[4:5], dims=active, values=torch.linspace(-2, 2, 5).tolist())
    np.testing.assert_allclose(np.load(numbers), expected, rtol=1e-5)


def test_vectors_and_hierarchies_on_the_command_line(runs, capsys):
    run, numbers = str(runs / "hierarchy"), runs / "hierarchy.npy"
    assert main(["traverse", run]) == 2
    assert "z_1, z_2" in capsys.readouterr().err
    assert main(["traverse", run, "--site=z_1", "--count=2"]) == 0
    assert main(["traverse", run, "--site=z_2", "--count=2", f"--output={numbers}"]) == 0
    assert np.load(numbers).shape == (2, 7, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--index=360"], "index is 360; expected 0 to 359"),
        (["--count=0"], "count is 0"),
        (["--steps=1"], "steps is 1"),
        (["--span=-1"], "span is -1"),
        (["--span=1e300"], r"span is 1e\+300; expected at most 1e\+06"),
        (["--site=w"], "'w'; expected one of z"),
        (["--output=run.txt"], r"run\.txt: expected a \.png or \.npy"),
    ],
)
def test_bad_command_lines(runs, capsys, options, message):
    before = sorted(runs.rglob("*"))
    assert main(["traverse", str(runs / "plain"), *options]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert "Traceback" not in error
    assert sorted(runs.rglob("*")) == before


def test_what_exists_is_not_overwritten(runs, capsys):
    taken = runs / "taken.png"
    taken.write_bytes(b"mine")
    assert main(["traverse", str(runs / "plain"), f"--output={taken}"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert taken.read_bytes() == b"mine"
