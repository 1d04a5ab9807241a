import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from torch import nn

import pyvae
from pyvae import guides, likelihoods, priors, recipes
from pyvae.inspection.inspection import inspect_pair
from pyvae.objectives import default_objective


def linear_vae(width=5, latents=2):
    return pyvae.VAE(
        priors.StandardNormal(latents),
        likelihoods.Normal(nn.Linear(latents, width), width),
        guides.DiagonalNormal(nn.Linear(width, 2 * latents), latents),
    )


def fit(pair, data, **arguments):
    return pyvae.fit(pair, data, **{"epochs": 1, "seed": 0, "progress": False, **arguments})


@pytest.mark.parametrize("objective", [TraceMeanField_ELBO(), Trace_ELBO(), TraceGraph_ELBO()])
def test_one_step_of_sgd_follows_the_gradient_of_the_mean_loss_per_datapoint(objective):
    """A guide of (almost) no spread leaves no noise: the gradient is then known in closed form."""
    vae, x = linear_vae().double(), torch.randn(7, 5).double()
    with torch.no_grad():
        vae.posterior.network.bias[2:] = -20.0
        vae.posterior.network.weight[2:] = 0.0
    before = {n: p.detach().clone() for n, p in vae.named_parameters()}
    z = vae.posterior.network(x)[:, :2]
    loss = ((x - vae.likelihood.network(z)).square().sum(-1) / 2 + z.square().sum(-1) / 2).mean()
    gradients = torch.autograd.grad(loss, [vae.likelihood.network.weight, vae.posterior.network.weight])
    fit(vae, x, objective=objective, batch_size=7, optimizer=lambda p: torch.optim.SGD(p, lr=1.0))
    moved = before["likelihood.network.weight"] - vae.likelihood.network.weight
    torch.testing.assert_close(moved, gradients[0], rtol=1e-3, atol=1e-4)
    moved = before["posterior.network.weight"] - vae.posterior.network.weight
    torch.testing.assert_close(moved[:2], gradients[1][:2], rtol=1e-3, atol=1e-4)


def test_clipping_bounds_the_step_of_the_whole_gradient():
    vae, x = linear_vae(), 10 * torch.randn(8, 5)
    before = nn.utils.parameters_to_vector(vae.parameters()).detach().clone()
    result = fit(vae, x, batch_size=8, clip_norm=0.25, optimizer=lambda p: torch.optim.SGD(p, lr=1.0))
    step = (nn.utils.parameters_to_vector(vae.parameters()) - before).norm()
    assert step.item() == pytest.approx(0.25, rel=1e-4)
    assert result.history[0]["grad_norm"] > 1


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    x = torch.randn(40, 5)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        results.append(fit(linear_vae(), x, epochs=3, batch_size=16, seed=seed).history)
    assert results[0] == results[1] != results[2]


def test_without_a_seed_the_global_stream_governs():
    x = torch.randn(10, 5)
    seeds = []
    for _ in range(2):
        pyro.set_rng_seed(5)
        seeds.append(fit(linear_vae(), x, seed=None).seed)
    assert seeds[0] == seeds[1]
    assert fit(linear_vae(), x, seed=None).seed != seeds[0]


def test_batch_statistics_see_each_batch_once_and_nothing_else():
    class Counting(nn.BatchNorm1d):
        calls = 0

        def forward(self, x):
            Counting.calls += self.training
            return super().forward(x)

    vae = linear_vae()
    vae.posterior.network = nn.Sequential(Counting(5), nn.Linear(5, 4))
    fit(vae, torch.randn(40, 5), validation=torch.randn(9, 5), epochs=2, batch_size=10)
    assert Counting.calls == 8
    assert vae.posterior.network[0].num_batches_tracked == 8


@pytest.mark.parametrize(
    ("prior", "expected"),
    [(priors.StandardNormal(2), TraceMeanField_ELBO), (priors.NormalMixture(2), Trace_ELBO)],
)
def test_analytic_kl_where_it_exists(prior, expected):
    vae = linear_vae()
    vae.prior = prior
    assert type(default_objective(inspect_pair(vae, (torch.randn(3, 5),)))) is expected


def test_no_analytic_kl_where_guide_and_model_sample_in_other_orders():
    class Reversed(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(()))

        def model(self, x):
            with pyro.plate("data", len(x)):
                a = pyro.sample("a", dist.Normal(0.0, 1.0))
                b = pyro.sample("b", dist.Normal(a, 1.0))
                pyro.sample("x", dist.Normal(self.w * b, 1.0), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                b = pyro.sample("b", dist.Normal(x, 1.0))
                pyro.sample("a", dist.Normal(b, 1.0))

    assert type(default_objective(inspect_pair(Reversed(), (torch.randn(3),)))) is Trace_ELBO


def explode(pair, at):
    """Make a pair's scale overflow at the given step of training."""

    class Exploding(nn.Module):
        steps = 0

        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            Exploding.steps += self.training
            factor = 1e30 if Exploding.steps >= at and self.training else 1.0
            return self.network(x) * factor

    pair.posterior.network = Exploding(pair.posterior.network)
    return pair


def test_the_first_bad_site_is_named_and_the_last_checkpoint_stands(tmp_path):
    vae = explode(linear_vae(), at=6)
    with pytest.raises(pyvae.NonFiniteError, match=r"site 'z' of the guide is not finite in epoch 2, batch 2"):
        fit(vae, torch.randn(40, 5), epochs=5, batch_size=10, checkpoint_dir=tmp_path)
    good = linear_vae()
    good.posterior.network = type(vae.posterior.network)(good.posterior.network)
    pyvae.load(tmp_path / "checkpoint.safetensors", good)
    assert all(p.isfinite().all() for p in good.parameters())


def test_a_bad_gradient_is_named_though_the_loss_is_finite():
    class Cliff(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.nan

    class Cliffed(nn.Linear):
        def forward(self, x):
            return Cliff.apply(super().forward(x))

    vae = linear_vae()
    vae.likelihood.network = Cliffed(2, 5)
    with pytest.raises(pyvae.NonFiniteError, match=r"the gradient of parameter .* in epoch 1, batch 1"):
        fit(vae, torch.randn(10, 5))


@pytest.mark.parametrize(
    ("size", "clip_norm", "advice"),
    [
        (1.0, None, "Try clip_norm=10, a smaller learning rate, or a likelihood whose density is bounded$"),
        (1.0, 5.0, "Try clip_norm=0.5, "),
        (40.0, None, r"smaller inputs, which reach \d{2,3}: standardize them or, of counts, log_input=True$"),
    ],
)
def test_advice_names_what_would_have_helped(size, clip_norm, advice):
    vae = explode(linear_vae(), at=2)
    with pytest.raises(pyvae.NonFiniteError, match=advice):
        fit(vae, size * torch.randn(40, 5), epochs=2, batch_size=10, clip_norm=clip_norm)


def test_frozen_parameters_stay_and_tied_ones_train_once():
    vae = linear_vae(5, 5)
    vae.posterior.network = nn.Linear(5, 10)
    vae.likelihood.network.weight = nn.Parameter(torch.eye(5))
    frozen = vae.likelihood.network.bias.requires_grad_(False).clone()
    fit(vae, torch.randn(20, 5), epochs=2)
    assert torch.equal(vae.likelihood.network.bias, frozen)
    assert not torch.equal(vae.likelihood.network.weight, torch.eye(5))


def test_grey_values_under_a_bernoulli_are_warned_of():
    vae = recipes.gaussian((5,), 2, [4])
    with pytest.warns(UserWarning, match="strictly between 0 and 1"):
        fit(vae, torch.rand(10, 5))


@pytest.mark.parametrize(
    ("name", "factor"), [("cosine", lambda t: (1 + math.cos(math.pi * t)) / 2), ("linear", lambda t: 1 - t)]
)
def test_schedules_by_name_fall_to_zero_over_all_epochs(name, factor, tmp_path):
    def rates(epochs, **more):
        result = fit(linear_vae(), torch.full((4, 5), 0.5), schedule=name, epochs=epochs, **more)
        return [row["learning_rate"] for row in result.history]

    assert rates(8) == pytest.approx([1e-3 * factor(e / 8) for e in range(8)], abs=1e-12)
    rates(4, checkpoint_dir=tmp_path)  # a run that goes on for longer falls to zero later
    assert rates(8, checkpoint_dir=tmp_path, resume=True)[4:] == pytest.approx(
        [1e-3 * factor(e / 8) for e in range(4, 8)], abs=1e-12
    )


def test_a_schedule_of_an_unknown_name_is_refused():
    with pytest.raises(pyvae.ArgumentError, match="schedule is 'cosinus'; expected one of cosine, linear"):
        fit(linear_vae(), torch.zeros(4, 5), schedule="cosinus")
