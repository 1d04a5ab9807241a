"""Programs on which a plausible implementation gives a wrong number without an error."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from PIL import Image
from pyro import poutine
from pyro.infer import JitTrace_ELBO, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.nn.functional import softmax

import pyvae
from pyvae.inspection.inspection import inspect_pair
from pyvae.objectives import default_objective


class Linear(nn.Module):
    """z ~ N(0, I), x ~ N(A z, I); q(z | x) = N(B x, s² I)."""

    def __init__(self):
        super().__init__()
        self.A, self.B = nn.Parameter(torch.randn(2, 4) / 2), nn.Parameter(torch.randn(4, 2) / 4)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.A, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x @ self.B, 0.5).to_event(1))


def fit(pair, x, **arguments):
    torch.manual_seed(0)
    arguments = {"optimizer": lambda p: torch.optim.SGD(p, lr=1e-9), "batch_size": 13, **arguments}
    return pyvae.fit(pair, x, epochs=1, seed=0, progress=False, **arguments).history[0]


class FactorAfterTheData(Linear):
    """A term outside the plate, which is last; the data are subsampled from 13,000."""

    def model(self, x):
        with pyro.plate("data", 13_000, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.A, 1.0).to_event(1), obs=x)
        pyro.factor("nothing", torch.tensor(0.0))

    def guide(self, x):
        with pyro.plate("data", 13_000, subsample=x):
            pyro.sample("z", dist.Normal(x @ self.B, 0.5).to_event(1))


class SubsampledInside(Linear):
    """The programs take 5 of the rows that they are given, and scale up to all of them."""

    def model(self, x):
        with pyro.plate("data", len(x), subsample_size=5) as rows:
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.A, 1.0).to_event(1), obs=x[rows])

    def guide(self, x):
        with pyro.plate("data", len(x), subsample_size=5) as rows:
            pyro.sample("z", dist.Normal(x[rows] @ self.B, 0.5).to_event(1))


@pytest.mark.parametrize(("make", "tolerance"), [(FactorAfterTheData, 0.02), (SubsampledInside, 0.25)])
def test_training_figures_are_per_datapoint_whatever_the_plate_scales(make, tolerance):
    x = torch.randn(130, 4)
    torch.manual_seed(1)
    plain = Linear()
    pair = make()
    pair.load_state_dict(plain.state_dict())
    expected, row = fit(plain, x), fit(pair, x)
    for name in ("train_elbo", "train_reconstruction", "train_kl", "grad_norm"):
        assert row[name] == pytest.approx(expected[name], rel=tolerance), name


def test_pairs_that_subsample_the_data_themselves_are_not_evaluated():
    with pytest.raises(pyvae.PairError, match=r"subsample|outside of the data plate"):
        pyvae.elbo(SubsampledInside(), torch.randn(40, 4))


class OverDimOne(nn.Module):
    """z_1 given z_2 through a softmax over dim 1, which is the data if particles stand before them."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.A = nn.Parameter(torch.tensor([[1.0, -1.0], [0.5, 2.0], [-1.0, 0.3]]))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            z1 = pyro.sample("z1", dist.Normal(2 * softmax(z2, dim=self.dim), 0.5).to_event(1))
            pyro.sample("x", dist.Normal(z1 @ self.A, 0.5).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z2", dist.Normal(x.new_zeros(len(x), 3), 1.0).to_event(1))
            pyro.sample("z1", dist.Normal(0.6 + 0.1 * x.sum(-1, keepdim=True).expand(-1, 3), 0.4).to_event(1))


def test_networks_that_read_the_particles_as_data_are_run_without_them():
    x = torch.randn(12, 2)
    wrong, right = (pyvae.elbo(OverDimOne(dim), x, num_particles=3000, seed=0) for dim in (1, -1))
    assert abs(wrong.value - right.value) < 4 * (wrong.standard_error + right.standard_error)


class HiddenDraw(Linear):
    """A guide that draws without Pyro's knowledge and hands over the density."""

    def guide(self, x):
        with pyro.plate("data", len(x)):
            loc = x @ self.B
            z = loc + 0.5 * torch.randn_like(loc)
            density = dist.Normal(loc, 0.5).log_prob(z).sum(-1)
            pyro.sample("z", dist.Delta(z, log_density=density, event_dim=1))


def test_hidden_randomness_is_drawn_for_every_particle_and_kept_from_analytic_kl():
    x = torch.randn(9, 4)
    plain, hidden = Linear(), HiddenDraw()
    hidden.load_state_dict(plain.state_dict())
    expected, estimate = (pyvae.elbo(p, x, num_particles=2000, seed=0) for p in (plain, hidden))
    assert estimate.standard_error > expected.standard_error / 2
    assert abs(estimate.value - expected.value) < 4 * (estimate.standard_error + expected.standard_error)
    assert type(default_objective(inspect_pair(hidden, (x,)))) is Trace_ELBO


def test_factors_of_the_guide_count_as_pyros_objectives_count_them():
    class Shifted(Linear):
        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(x @ self.B, 0.5).to_event(1))
                pyro.factor("jacobian", torch.full((len(x),), -7.0), has_rsample=True)

    x = torch.randn(9, 4)
    pair = Shifted()
    with pyro.get_param_store().scope():
        losses = [Trace_ELBO().loss(pair.model, pair.guide, x) for _ in range(400)]
    estimate = pyvae.elbo(pair, x, num_particles=400, seed=0)
    assert abs(-np.mean(losses) / 9 - estimate.value) < 5 * estimate.standard_error + np.std(losses) / 9 / 4


class Own(dist.Normal):
    """A normal with a density of its own, which inherits a KL that is not its."""

    def log_prob(self, value):
        return super().log_prob(value) + 10.0


def with_scale(pair):
    pair.model = poutine.scale(pair.model, scale=0.5)
    return pair


def with_own_density(pair):
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", Own(x @ pair.B, 0.5).to_event(1))

    pair.guide = guide
    return pair


@pytest.mark.parametrize("change", [with_scale, with_own_density])
def test_analytic_kl_is_not_chosen_where_it_is_another_number(change):
    assert type(default_objective(inspect_pair(Linear(), (torch.randn(3, 4),)))) is TraceMeanField_ELBO
    assert type(default_objective(inspect_pair(change(Linear()), (torch.randn(3, 4),)))) is Trace_ELBO


def test_objectives_that_hide_the_pair_are_refused_and_none_is_changed():
    with pytest.raises(pyvae.ArgumentError, match=r"JitTrace_ELBO.*use Trace_ELBO"):
        fit(Linear(), torch.randn(9, 4), objective=JitTrace_ELBO())
    objective = Trace_ELBO(num_particles=2, vectorize_particles=True)
    fit(Linear(), torch.randn(9, 4), objective=objective)
    assert objective.max_plate_nesting == math.inf


def test_bits_per_dimension_count_the_elements_of_plates_too():
    class Pixels(Linear):
        def model(self, x):
            with pyro.plate("data", len(x), dim=-2):
                z = pyro.sample("z", dist.Normal(torch.zeros(1, 2), 1.0).to_event(1))
                with pyro.plate("pixels", 4, dim=-1):
                    pyro.sample("x", dist.Normal((z @ self.A).squeeze(-2), 1.0), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x), dim=-2):
                pyro.sample("z", dist.Normal((x @ self.B)[:, None, :], 0.5).to_event(1))

    figures = pyvae.evaluate(Pixels(), torch.randn(9, 4), seed=0).figures()
    assert figures["bits_per_dimension"] == pytest.approx(-figures["log_likelihood"] / 4 / math.log(2))


def test_another_objective_or_rate_is_no_resumption(tmp_path):
    x = torch.randn(20, 4)
    keep = {"checkpoint_dir": tmp_path, "resume": True}
    fit(Linear(), x, objective=RenyiELBO(alpha=0, num_particles=2), **keep)
    with pytest.raises(pyvae.CheckpointError, match="alpha"):
        fit(Linear(), x, objective=RenyiELBO(alpha=0.5, num_particles=2), **keep)
    with pytest.raises(pyvae.CheckpointError, match=r"1e-09.*|0\.1"):
        fit(
            Linear(),
            x,
            objective=RenyiELBO(alpha=0, num_particles=2),
            optimizer=lambda p: torch.optim.SGD(p, 0.1),
            **keep,
        )


def test_counters_in_buffers_do_not_move_when_a_pair_is_evaluated():
    class Counting(Linear):
        def __init__(self):
            super().__init__()
            self.register_buffer("runs", torch.zeros(()))

        def model(self, x):
            self.runs += 1
            super().model(x)

    pair, x = Counting(), torch.randn(20, 4)
    pyvae.evaluate(pair, x)
    assert pair.runs == 0
    fit(pair, x, batch_size=10, validation=x)
    assert pair.runs == 2


def test_nan_in_validation_is_no_best_epoch():
    class Breaking(Linear):
        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                scale = 1.0 if self.training else torch.nan
                pyro.sample("x", dist.Normal(z @ self.A, scale, validate_args=False).to_event(1), obs=x)

    x = torch.randn(20, 4)
    message = "validation data, after epoch 1: the log density of site 'x' of the model .* nan in row 0, .* 'scale'"
    with pyro.validation_enabled(False), pytest.raises(pyvae.NonFiniteError, match=message):
        fit(Breaking(), x, validation=x)


def test_folders_of_images_share_their_classes(tmp_path):
    for split, names in (("train", "abc"), ("test", "bc")):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / split / name / "0.png")
    with pytest.raises(pyvae.DataError, match=r"\['a', 'b', 'c'\].*\['b', 'c'\]"):
        pyvae.datasets.image_folder(str(tmp_path))


def test_bytes_that_are_binary_already_are_not_scaled_away(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(20, dtype=np.uint8))
    with pytest.raises(pyvae.DataError, match="bytes of 0 and 1"):
        pyvae.datasets.arrays(str(tmp_path / "x.npy"))
    np.save(tmp_path / "b.npy", np.eye(20, dtype=bool))
    assert pyvae.datasets.arrays(str(tmp_path / "b.npy")).train.tensors[0].max() == 1
