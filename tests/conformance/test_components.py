"""What every prior, likelihood and guide must do."""

import contextlib
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import Distribution
from pyro.distributions.constraints import sphere
from pyro.infer import Predictive
from torch.distributions import constraints

from pyvae import distributions, guides, likelihoods, priors
from pyvae.components import ParametrizedByNetwork

from .components import (
    CODES,
    CONTEXT,
    GRID,
    GUIDES,
    LATENTS,
    LEVELS,
    LIKELIHOODS,
    PIXELS,
    PRIORS,
    WITH_CONTEXT,
    OnItsLevel,
    make_guide,
    make_level,
    make_likelihood,
    make_prior,
)

LEADING = [(5,), (2, 5), (3, 2, 5), (1,)]


def of_codes(distribution):
    """Whether draws are grids of integers."""
    return not distribution.sample().is_floating_point()


def everything():
    """(component, inputs) for each, with and without a context."""
    for cls in PRIORS:
        yield pytest.param(*make_prior(cls), id=cls.__name__)
    for cls in WITH_CONTEXT:
        yield pytest.param(*make_prior(cls, context=True), id=f"{cls.__name__}-context")
    for cls in LIKELIHOODS:
        yield pytest.param(make_likelihood(cls), (torch.randn(5, LATENTS),), id=cls.__name__)
        inputs = (torch.randn(5, LATENTS), torch.randn(5, CONTEXT))
        yield pytest.param(make_likelihood(cls, context=True), inputs, id=f"{cls.__name__}-context")
    learned = likelihoods.Normal(torch.nn.Linear(LATENTS, PIXELS), PIXELS, scale=0.5, learn_scale=True)
    yield pytest.param(learned, (torch.randn(5, LATENTS),), id="Normal-learned-scale")
    for cls in GUIDES:
        yield pytest.param(make_guide(cls), (torch.randn(5, PIXELS),), id=cls.__name__)
        inputs = (torch.randn(5, PIXELS), torch.randn(5, CONTEXT))
        yield pytest.param(make_guide(cls, context=True), inputs, id=f"{cls.__name__}-context")
    for cls in LEVELS:
        yield pytest.param(make_level(cls), (torch.randn(5, PIXELS),), id=cls.__name__)


every_component = pytest.mark.parametrize(("component", "inputs"), list(everything()))


@pytest.mark.parametrize(
    ("folder", "base"),
    [
        (priors, priors.Prior),
        (likelihoods, likelihoods.Likelihood),
        (guides, (guides.Guide, guides.LevelGuide)),
    ],
    ids=["priors", "likelihoods", "guides"],
)
def test_each_is_of_its_kind_and_documented(folder, base):
    for name in folder.__all__:
        cls = getattr(folder, name)
        assert issubclass(cls, base)
        assert "Example:" in cls.__doc__ or cls in (base if isinstance(base, tuple) else (base,))


def over_networks():
    """(component, inputs) for each that is one over a network, those that wrap another among them."""
    for parameter in everything():
        component, _ = parameter.values
        if isinstance(component, ParametrizedByNetwork):
            yield parameter
        elif isinstance(component, OnItsLevel):
            yield pytest.param(component.level, (torch.randn(5, component.level.network.linear.in_features),))


@pytest.mark.parametrize(("component", "inputs"), list(over_networks()))
def test_what_is_over_a_network_offers_all_that_its_base_does(component, inputs):
    """So does what wraps another component and makes no call of the base's constructor."""
    for name, member in vars(ParametrizedByNetwork).items():
        assert name.startswith("__") or getattr(component, name) is not None, member
    assert isinstance(component.network, torch.nn.Module)
    assert isinstance(component.event_shape, torch.Size)
    assert torch.equal(component.output(*inputs), component.network(*inputs))
    assert component.output(*inputs).shape == (5, *component.output_shape)
    assert f"event_shape={tuple(component.event_shape)}" in repr(component)


def test_no_component_inherits_what_it_does_not_offer():
    """Every class over a network is tried above."""
    tried = {type(parameter.values[0]) for parameter in over_networks()}
    classes = {getattr(folder, name) for folder in (priors, likelihoods, guides) for name in folder.__all__}
    abstract = {likelihoods.Likelihood, guides.LevelGuide}
    assert {cls for cls in classes if issubclass(cls, ParametrizedByNetwork)} - abstract <= tried


@every_component
def test_gives_a_distribution_whose_draws_have_a_finite_density(component, inputs):
    distribution = component(*inputs)
    assert isinstance(distribution, Distribution)
    expanded = distribution.expand([5])
    draw = expanded.sample()
    assert draw.shape == (5, *distribution.event_shape)
    assert expanded.log_prob(draw).shape == (5,)
    assert expanded.log_prob(draw).isfinite().all()


@every_component
@pytest.mark.parametrize("leading", LEADING)
def test_leading_dims_become_the_batch_shape(component, inputs, leading):
    inputs = [i[:1].expand(*leading, i.shape[-1]) for i in inputs]
    distribution = component(*inputs)
    assert distribution.batch_shape == (torch.Size(leading) if inputs else torch.Size())


@every_component
def test_rows_do_not_mix(component, inputs):
    """One at a time or all together, the densities are the same."""
    if not inputs:
        pytest.skip("it has no input")
    together = component(*inputs)
    value = together.sample()
    for row in range(5):
        alone = component(*(i[row : row + 1] for i in inputs))
        torch.testing.assert_close(alone.log_prob(value[row : row + 1]), together.log_prob(value)[row : row + 1])


@every_component
def test_every_parameter_gets_a_gradient(component, inputs):
    if not list(component.parameters()):
        pytest.skip("it has no parameter")
    distribution = component(*inputs).expand([5])
    distribution.log_prob(distribution.sample()).sum().backward()
    for name, parameter in component.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@every_component
def test_double_precision(component, inputs):
    try:
        distribution = component.double()(*(i.double() for i in inputs))
        draw = distribution.sample()
        assert draw.dtype == (torch.int64 if of_codes(distribution) else torch.float64)
        assert distribution.log_prob(draw).dtype == torch.float64
    finally:
        component.float()


@every_component
def test_moves_to_another_device(component, inputs):
    """The meta device computes shapes alone and refuses operands of any other device."""
    import copy

    moved = copy.deepcopy(component).to("meta")
    with pyro.validation_enabled(False):
        assert moved(*(i.to("meta") for i in inputs)).expand([5]).batch_shape == (5,)
    devices = {t.device.type for t in (*moved.parameters(), *moved.buffers())}
    assert devices <= {"meta"}


@every_component
def test_state_dict_round_trips(component, inputs):
    state = {n: t.clone() for n, t in component.state_dict().items()}
    before = component(*inputs)
    value = before.sample()
    log_prob = before.log_prob(value)
    with torch.no_grad():
        for parameter in component.parameters():
            parameter.add_(0.1)
    component.load_state_dict(state)
    assert torch.equal(component(*inputs).log_prob(value), log_prob)


@every_component
def test_draws_under_predictive(component, inputs):
    def model():
        with pyro.plate("data", 5):
            pyro.sample("site", component(*inputs))

    event = component(*inputs).event_shape
    for parallel in (False, True):
        assert Predictive(model, num_samples=3, parallel=parallel)()["site"].shape == (3, 5, *event)


@every_component
def test_repr_names_it(component, inputs):
    assert repr(component).startswith(type(component).__name__)


@pytest.mark.parametrize("cls", GUIDES, ids=lambda c: c.__name__)
def test_guides_reparametrize_with_the_standard_deviation(cls):
    """z = μ + σ ε: the spread of draws is σ, where it has a closed form, and gradients pass through them."""
    guide = make_guide(cls)
    x = torch.randn(1, PIXELS)
    distribution = guide(x)
    draws = distribution.rsample([40_000])
    with contextlib.suppress(NotImplementedError):
        torch.testing.assert_close(draws.detach().std(0), distribution.stddev.detach(), rtol=0.02, atol=0)
    (draws * torch.randn(draws.shape[-1])).mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in guide.parameters())


@pytest.mark.parametrize("cls", PRIORS, ids=lambda c: c.__name__)
def test_priors_normalize(cls):
    """Σ_z p(z) = 1 by enumeration for codes, ∫ p(z) dz = 1 by importance sampling elsewhere.

    The samples are of a wide normal, or uniform where z is on a sphere.
    """
    prior, inputs = make_prior(cls)
    if of_codes(prior(*inputs)):
        every = torch.cartesian_prod(*[torch.arange(CODES)] * math.prod(GRID)).reshape(-1, 1, *GRID)
        torch.testing.assert_close(
            prior(*inputs).log_prob(every).exp().sum(0), torch.ones(len(inputs[0]) if inputs else 1)
        )
        return
    inputs = [i[:1] for i in inputs]
    p = prior(*inputs)
    if p.support is sphere:
        wide = distributions.HypersphericalUniform(LATENTS, torch.zeros(()))
    else:
        wide = dist.Normal(torch.zeros(LATENTS), 2.5).to_event(1)
    z = wide.sample((100_000,))
    ratio = (p.log_prob(z) - wide.log_prob(z)).exp()
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / len(z) ** 0.5 + 1e-5


@pytest.mark.parametrize("cls", LIKELIHOODS, ids=lambda c: c.__name__)
def test_likelihoods_normalize(cls):
    """Σ_x p(x | z) = 1 by enumeration of levels or of counts, ∫ p(x | z) dx = 1 by importance sampling elsewhere."""
    likelihood = make_likelihood(cls)
    distribution = likelihood(torch.randn(1, LATENTS))
    support, levels = distribution.support.base_constraint, getattr(likelihood, "levels", 2)
    draws = distribution.sample([1000])
    if support is constraints.nonnegative_integer:
        likelihood = make_likelihood(cls, pixels=2).double()
        x = torch.cartesian_prod(*[torch.arange(500.0, dtype=torch.double)] * 2)
        assert likelihood(torch.randn(1, LATENTS).double()).log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-6)
    elif torch.equal(draws, (draws * (levels - 1)).round() / (levels - 1)):
        x = torch.cartesian_prod(*[torch.arange(levels) / (levels - 1)] * PIXELS)
        assert distribution.log_prob(x).exp().sum().item() == pytest.approx(1, abs=1e-5)
    else:
        # the tails of the one are heavier than those of any likelihood, so that the ratio is bounded
        unit, heavy = torch.distributions.Uniform(0.0, 1.0), torch.distributions.StudentT(2.0, 0.0, 2.0)
        wide = unit if support is constraints.unit_interval else heavy
        x = wide.sample((400_000, PIXELS))
        ratio = (distribution.log_prob(x) - wide.log_prob(x).sum(-1)).exp()
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / len(x) ** 0.5
        assert ratio.std() / len(x) ** 0.5 < 0.01
