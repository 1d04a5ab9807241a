"""Flows: densities by a change of variables of our own, and the density that a flow keeps of its last draw."""

import copy
import pickle
import subprocess
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from torch import nn

import pyvae
from pyvae import guides, likelihoods, priors, recipes
from pyvae.distributions import Flow
from pyvae.distributions.flow import import_zuko
from pyvae.errors import ArgumentError, PairError
from pyvae.latent_space.posterior_means import draws_of, mean_of

FLOWS = [priors.MaskedAutoregressiveFlow, priors.NeuralSplineFlow, priors.RealNVP]
every_flow = pytest.mark.parametrize("cls", FLOWS, ids=lambda c: c.__name__)


def by_change_of_variables(flow, z):
    """log N(f(z); 0, I) + log abs det of the Jacobian, element by element by autograd."""
    u = flow.transform(z)
    jacobian = torch.stack([torch.autograd.functional.jacobian(flow.transform, row) for row in z])
    return torch.distributions.Normal(0.0, 1.0).log_prob(u).sum(-1) + torch.linalg.det(jacobian).abs().log()


@every_flow
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_density(cls, dim):
    flow = cls(dim, hidden=[8]).double()()
    z = 2 * torch.randn(6, dim, dtype=torch.float64)
    torch.testing.assert_close(flow.log_prob(z), by_change_of_variables(flow, z))


@every_flow
def test_context_changes_the_density_row_by_row(cls):
    prior = cls(3, context_dim=2, hidden=[8]).double()
    c, z = torch.randn(4, 2, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    together = prior(c).log_prob(z)
    alone = torch.stack([by_change_of_variables(prior(row), value[None])[0] for row, value in zip(c, z, strict=True)])
    torch.testing.assert_close(together, alone)
    assert (prior(c + 1).log_prob(z) - together).abs().min() > 1e-6


@every_flow
def test_draws_have_the_density_that_is_told(cls):
    """E_p[q/p] = 1 for a normal q within p: draws and density belong together."""
    flow = cls(2, hidden=[8])()
    draws = flow.sample([100_000])
    narrow = dist.Normal(draws.mean(0), draws.std(0) / 2).to_event(1)
    ratio = (narrow.log_prob(draws) - flow.log_prob(draws)).exp()
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / len(draws) ** 0.5


@every_flow
def test_moments_have_no_closed_form_and_are_those_of_draws_that_leave_no_trace(cls):
    flow = cls(2, context_dim=3, hidden=[8])(torch.randn(4, 3))
    for moment in ("mean", "variance", "stddev"):
        with pytest.raises(NotImplementedError):
            getattr(flow, moment)
    draws = flow.sample([20_000])
    state = torch.get_rng_state()
    mean = mean_of(flow)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(mean, mean_of(flow))
    assert draws_of(flow).shape == (1000, 4, 2)
    assert ((mean - draws.mean(0)).abs() < 5 * draws.std(0) / 1000**0.5).all()


def a_flow():
    """One that keeps the density of its last draw, as guides do."""
    prior = priors.MaskedAutoregressiveFlow(3, context_dim=2, transforms=2, hidden=[8]).double()
    c = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    flow = prior(c)
    return prior, c, Flow(flow.transform, flow.base, (prior.transform, c))


def gradients(output, prior, c):
    prior.zero_grad()
    c.grad = None
    output.backward(retain_graph=True)
    return [p.grad.clone() for p in prior.parameters()] + [c.grad.clone()]


def test_kept_density_and_its_gradients_are_those_computed_anew():
    prior, c, flow = a_flow()
    z = flow.rsample()
    kept, anew = flow.log_prob(z), flow.log_prob(z.view_as(z))
    assert kept is flow.log_prob(z)
    assert kept is not anew
    torch.testing.assert_close(kept, anew)
    weights = torch.randn(5, dtype=torch.float64)
    for ours, theirs in zip(
        gradients((weights * kept).sum() + z.square().sum(), prior, c),
        gradients((weights * anew).sum() + z.square().sum(), prior, c),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_kept_density_takes_no_further_pass():
    prior, _, flow = a_flow()
    calls = []
    prior.transform.transforms[0].hyper.register_forward_hook(lambda *_: calls.append(1))
    z = flow.rsample()
    drawn = len(calls)
    flow.log_prob(z)
    assert len(calls) == drawn
    flow.log_prob(z.clone())
    assert len(calls) == drawn + 1


def change_a_parameter(prior, c, z):
    with torch.no_grad():
        next(prior.parameters()).add_(0.1)


def replace_a_parameter(prior, c, z):
    layer = prior.transform.transforms[0].hyper[0]
    layer.weight = nn.Parameter(layer.weight.detach() + 0.1)


def take_a_step(prior, c, z):
    optimizer = torch.optim.Adam(prior.parameters(), 0.1, fused=True)
    (z.sum() + c.sum()).backward(retain_graph=True)
    optimizer.step()


def change_the_context(prior, c, z):
    with torch.no_grad():
        c.add_(0.1)


def change_the_draw(prior, c, z):
    z.add_(0.1)


def freeze_a_parameter(prior, c, z):
    next(prior.parameters()).requires_grad_(False)


@pytest.mark.parametrize(
    "change",
    [
        change_a_parameter,
        replace_a_parameter,
        take_a_step,
        change_the_context,
        change_the_draw,
        freeze_a_parameter,
        lambda prior, c, z: z.detach_(),
    ],
)
def test_nothing_stale_is_kept(change):
    prior, c, flow = a_flow()
    z = flow.rsample()
    flow.log_prob(z)
    change(prior, c, z)
    assert torch.equal(flow.log_prob(z), flow.log_prob(z.clone()))


def test_draws_without_a_graph_get_a_gradient():
    prior, _, flow = a_flow()
    with torch.no_grad():
        z = flow.rsample()
        assert not flow.log_prob(z).requires_grad
    flow.log_prob(z).sum().backward()
    assert all(p.grad is not None for p in prior.parameters())


def test_two_draws_at_once_have_each_its_own_density():
    _, _, flow = a_flow()
    first, second = flow.rsample(), flow.rsample()
    torch.testing.assert_close(flow.log_prob(first), flow.log_prob(first.clone()))
    torch.testing.assert_close(flow.log_prob(second), flow.log_prob(second.clone()))
    assert flow.log_prob(first) is not flow.log_prob(first)
    assert flow.log_prob(second) is flow.log_prob(second)
    assert not torch.equal(flow.log_prob(first), flow.log_prob(second))


def test_without_knowing_what_is_read_nothing_is_kept():
    flow = Flow(torch.distributions.ExpTransform().inv, dist.Normal(torch.zeros(3), 1.0).to_event(1))
    z = flow.rsample()
    assert flow.log_prob(z) is not flow.log_prob(z)
    torch.testing.assert_close(flow.log_prob(z), dist.LogNormal(torch.zeros(3), 1.0).to_event(1).log_prob(z))
    assert flow.event_shape == (3,)


def test_under_inference_mode():
    prior, c, _ = a_flow()
    with torch.inference_mode():
        flow = prior(c)
        flow = Flow(flow.transform, flow.base, (prior.transform, c))
        z = flow.rsample()
        torch.testing.assert_close(flow.log_prob(z), flow.log_prob(z.clone()))


def test_copies_and_pickles():
    _, _, flow = a_flow()
    z = flow.rsample()
    torch.testing.assert_close(copy.copy(flow).log_prob(z), flow.log_prob(z))
    other = Flow(torch.distributions.ExpTransform().inv, dist.Normal(torch.zeros(3), 1.0), (torch.ones(3),))
    z = other.rsample()
    for copied in (copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
        torch.testing.assert_close(copied.log_prob(z), other.log_prob(z))


def test_takes_flows_of_zuko_and_bases_with_or_without_events():
    zuko = import_zuko()
    with pyro.validation_enabled(False):  # a distribution of Zuko itself warns while validation is on
        flow = zuko.flows.NSF(3, 2)
        theirs = flow(torch.randn(5, 2))
    ours = Flow(theirs.transform, theirs.base)
    z = torch.randn(5, 3)
    torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z))
    univariate = Flow(theirs.transform, dist.Normal(torch.zeros(5, 3), 1.0))
    assert univariate.batch_shape == (5,)
    torch.testing.assert_close(univariate.log_prob(z), theirs.log_prob(z))


@every_flow
def test_expand_mask_and_sample_shapes(cls):
    flow = cls(3)()
    expanded = flow.expand([4, 5])
    draws = expanded.rsample([2])
    assert draws.shape == (2, 4, 5, 3)
    torch.testing.assert_close(expanded.log_prob(draws), flow.log_prob(draws), rtol=1e-3, atol=1e-3)
    mask = torch.arange(5) > 2
    masked = expanded.mask(mask)
    assert (masked.log_prob(draws)[..., :3] == 0).all()
    torch.testing.assert_close(masked.log_prob(draws)[..., 3:], expanded.log_prob(draws)[..., 3:])

    def model():
        with pyro.plate("data", 5), poutine.mask(mask=mask):
            return pyro.sample("z", flow)

    trace = poutine.trace(model).get_trace()
    log_prob = flow.log_prob(trace.nodes["z"]["value"])
    torch.testing.assert_close(trace.log_prob_sum(), log_prob[3:].sum(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seen", [lambda q: q.expand([4, 5]), lambda q: q.mask(torch.arange(5) > 2)])
def test_kept_densities_under_expand_and_mask(seen):
    q = seen(a_flow()[2])
    z = q.rsample()
    kept = q.log_prob(z)
    torch.testing.assert_close(kept, q.log_prob(z.clone()))
    with torch.no_grad():
        z.add_(0.5)
    torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()))
    assert not torch.allclose(q.log_prob(z), kept)


def test_refusals():
    with pytest.raises(ArgumentError, match="vector"):
        priors.NeuralSplineFlow((2, 3))
    with pytest.raises(ArgumentError, match="hidden"):
        priors.RealNVP(2, hidden=3)
    with pytest.raises(PairError, match="context_dim=4, but got no context"):
        priors.RealNVP(2, context_dim=4)()
    with pytest.raises(ArgumentError, match=r"expected \(\.\.\., 4\)"):
        priors.RealNVP(2, context_dim=4)(torch.zeros(5, 3))
    with pytest.raises(ValueError, match="support"):
        priors.RealNVP(2)().log_prob(torch.full((2,), torch.nan))


def test_the_import_of_zuko_changes_nothing():
    program = """
import sys, warnings, torch
from torch.distributions import Distribution
before = dict(vars(Distribution))
warnings.simplefilter("error")
import pyro, pyvae
assert "zuko" not in sys.modules
pyro.enable_validation(True)
state = torch.get_rng_state()
from pyvae.distributions.flow import import_zuko
import_zuko()
assert torch.equal(state, torch.get_rng_state()) and torch.get_default_dtype() == torch.float32
prior = pyvae.priors.NeuralSplineFlow(2)
prior().log_prob(prior().sample())
state = torch.get_rng_state()
repr(prior)
assert torch.equal(state, torch.get_rng_state())
assert "zuko" in sys.modules
assert {n: v for n, v in vars(Distribution).items() if n in before} == before
try:
    pyro.distributions.Normal(0.0, -1.0)
except ValueError:
    print("validated")
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "validated", result.stderr


@every_flow
def test_stock_svi_trains_a_vae(cls):
    pair = recipes.gaussian((5,), 2, [8], prior=cls)
    before = [p.detach().clone() for p in pair.parameters()]
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO(2, vectorize_particles=True))
    assert all(svi.step(torch.rand(6, 5).round()) > 0 for _ in range(3))
    assert all(not torch.equal(b, p) for b, p in zip(before, pair.parameters(), strict=True))


def test_a_flow_learns_two_modes():
    """Where the truth is known: the entropy of an even mixture of two distant normals."""
    truth = dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Normal(torch.tensor([[-2.0], [2.0]]), 0.4).to_event(1)
    )
    prior = priors.NeuralSplineFlow(1, transforms=1)
    optimizer = torch.optim.Adam(prior.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (-prior().log_prob(truth.sample([256])).mean()).backward()
        optimizer.step()
    z = truth.sample([20_000])
    assert abs((truth.log_prob(z) - prior().log_prob(z)).mean()) < 0.05


def test_fit_save_and_load(tmp_path):
    pair = recipes.conditional((5,), 3, 2, [8], prior=priors.NeuralSplineFlow)
    x, y = torch.rand(16, 5).round(), torch.arange(16) % 3
    pyvae.fit(pair, (x, y), epochs=1, batch_size=8, seed=0, progress=False)
    pyvae.save(tmp_path / "pair.safetensors", pair)
    loaded = pyvae.load(tmp_path / "pair.safetensors")
    z = torch.randn(7, 2)
    assert torch.equal(loaded.prior().log_prob(z), pair.prior().log_prob(z))


def test_in_a_pair_with_context():
    vae = pyvae.VAE(
        prior=priors.RealNVP(2, context_dim=3),
        likelihood=likelihoods.Bernoulli(pyvae.networks.MLP(2, 5, [8], context_dim=3), 5),
        posterior=guides.DiagonalNormal(pyvae.networks.MLP(5, 4, [8], context_dim=3), 2),
        context=pyvae.networks.OneHot(3),
    )
    assert Predictive(vae.model, num_samples=4)(None, torch.arange(3))["x"].shape == (4, 3, 5)
