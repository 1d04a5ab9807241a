"""Whatever components a pair is made of, compiling it changes no number."""

import inspect

import pyro
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyro.infer import Trace_ELBO
from torch import nn

from pyvae import guides, networks, priors, recipes
from pyvae.recipes.recipe import autoencoder, decoded, make_posterior
from tests.compilation.comparing import assert_equal_to_eager
from tests.conformance.components import GUIDES, LIKELIHOODS, PRIORS, make_prior

CLASSES = 3
#: priors of vectors; those of codes need a guide of codes
VECTORS = [
    p for p, (prior, inputs) in ((p, make_prior(p)) for p in PRIORS) if prior(*inputs).sample().is_floating_point()
]
SHAPES = st.one_of(
    st.integers(1, 5), st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple), st.just((1, 4, 4))
)


def parameters(component):
    return inspect.signature(component).parameters


def made_of(prior, latents, width):
    """A prior of vectors for contexts of this width; 0 for none."""
    if "network" in parameters(prior):
        (outputs,) = prior(nn.Identity(), latents).output_shape
        return prior(nn.Linear(width, outputs), latents)
    options = {"context_dim": width, "hidden": [5], "num_components": 3}
    return prior(latents, **{name: value for name, value in options.items() if name in parameters(prior)})


@st.composite
def pairs(draw):
    shape, latents = draw(SHAPES), draw(st.integers(1, 3))
    width = draw(st.sampled_from([0, 1, 2]))
    context = nn.Embedding(CLASSES, width) if width else None
    hidden = draw(st.sampled_from([[], [6], [6, 5]]))
    activation = draw(st.sampled_from([nn.ReLU, nn.Tanh, nn.SiLU]))

    def network(start, end):
        return networks.MLP(start, end, hidden, context_dim=width, activation=activation)

    prior = draw(st.sampled_from([p for p in VECTORS if width or "network" not in parameters(p)]))
    likelihood = draw(st.sampled_from(LIKELIHOODS))
    guide = draw(st.sampled_from([g for g in GUIDES if g is not guides.PowerSpherical]))
    if prior is priors.HypersphericalUniform:
        guide, latents = guides.PowerSpherical, latents + 1
    event = (shape,) if isinstance(shape, int) else shape
    pair = autoencoder(
        event,
        made_of(prior, latents, width),
        decoded(likelihood, lambda out: network(latents, out), shape),
        make_posterior(guide, lambda out: network(event, out), latents),
        context,
    )
    rows = draw(st.integers(1, 5))
    labels = (torch.arange(rows) % CLASSES,) if width else ()
    return pair, (torch.rand(rows, *event).round(), *labels)


@pytest.mark.usefixtures("interpreted")
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=pairs(), particles=st.integers(1, 3), vectorize=st.booleans())
def test_random_pairs(made, particles, vectorize):
    pair, args = made
    pyro.clear_param_store()
    plates = 1 + (vectorize and particles > 1)
    assert_equal_to_eager(
        pair,
        Trace_ELBO(particles, vectorize_particles=vectorize),
        *args,
        eager_objective=Trace_ELBO(particles, vectorize_particles=vectorize, max_plate_nesting=plates),
    )


@pytest.mark.usefixtures("interpreted")
@pytest.mark.parametrize("learn_prior", [False, True])
def test_the_conditional_recipe(learn_prior):
    pair = recipes.conditional((5,), CLASSES, 2, [6], learn_prior=learn_prior)
    assert_equal_to_eager(pair, Trace_ELBO(max_plate_nesting=1), torch.rand(6, 5).round(), torch.arange(6) % CLASSES)


def test_the_strategy_knows_every_component():
    """Components that are added later take part by themselves only if their constructors are like these."""
    over_a_network = {"network", "event_shape"}
    for component in (*GUIDES, *VECTORS, *LIKELIHOODS):
        required = {n for n, p in parameters(component).items() if p.default is inspect.Parameter.empty}
        assert required == over_a_network or (component in VECTORS and required == {"event_shape"})
