"""The compiled loss and its gradients are those of the objective, on the same random stream."""

from contextlib import suppress

import pyro
import pytest
import torch
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO, config_enumerate
from torch import nn

import pyvae
from pyvae import priors
from tests.compilation.comparing import assert_equal_to_eager, compiled_results
from tests.compilation.pairs import PAIRS, WIDTH, ByHand, Chain, Classes, Discrete, Layers, vae

pytestmark = pytest.mark.usefixtures("interpreted")
ROWS = 6

OBJECTIVES = {
    f"{objective.__name__}-{particles}{'-vectorized' if vectorized else ''}": (
        objective,
        {"num_particles": particles, "vectorize_particles": vectorized},
    )
    for objective in (Trace_ELBO, TraceMeanField_ELBO, TraceGraph_ELBO, RenyiELBO)
    for particles, vectorized in ((1, False), (3, False), (3, True))
    if (objective, particles) != (RenyiELBO, 1)
}
SOME = ["Trace_ELBO-3", "Trace_ELBO-3-vectorized", "TraceMeanField_ELBO-1", "TraceGraph_ELBO-1"]


def compare(pair, name, **more):
    """The compiled pair has to find the plates by itself; Pyro, told of them, does not run the pair to find them."""
    cls, settings = OBJECTIVES[name]
    plates = 1 + settings["vectorize_particles"]
    return assert_equal_to_eager(
        pair,
        cls(**settings, **more),
        torch.randn(ROWS, WIDTH),
        eager_objective=cls(**settings, **more, max_plate_nesting=plates),
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective(objective):
    compare(ByHand(), objective)


@pytest.mark.parametrize("objective", SOME)
@pytest.mark.parametrize("make", PAIRS[1:], ids=lambda m: m.__name__)
def test_every_pair(make, objective):
    if make is Layers and "vectorized" in objective:
        pytest.skip("BatchNorm1d takes one batch dimension")
    if make is Chain and "MeanField" in objective:
        pytest.skip("guide and model sample in other orders")
    compare(make(), objective)


@pytest.mark.parametrize("objective", ["Trace_ELBO-3", "TraceMeanField_ELBO-1", "RenyiELBO-3"])
def test_batch_norm_and_dropout_in_evaluation_mode(objective):
    pair = Layers()
    for _ in range(3):  # until the running statistics differ from those of a batch
        pair.encoder(torch.randn(ROWS, WIDTH))
    compare(pair.eval(), objective)


def test_batch_statistics_are_updated_once_per_call():
    pair = Layers()
    compiled = pyvae.compile(pair)
    for _ in range(5):
        compiled(torch.randn(ROWS, WIDTH))
    assert pair.encoder[1].num_batches_tracked == 5


@pytest.mark.parametrize("make", [Discrete, Classes])
@pytest.mark.parametrize("objective", ["Trace_ELBO-1", "Trace_ELBO-3", "Trace_ELBO-3-vectorized", "RenyiELBO-3"])
def test_score_function_gradients(make, objective):
    compare(make(), objective)


@pytest.mark.parametrize("make", [Discrete, lambda: vae(priors.NormalMixture)], ids=["guide", "mixture"])
def test_score_function_gradients_with_their_dependencies_are_refused(make):
    """The tensors of a recording cannot become those with which Pyro tracks what depends on what."""
    with pytest.raises(pyvae.TraceError, match="Use the objective itself"):
        compare(make(), "TraceGraph_ELBO-1")


def test_renyi_of_other_orders():
    compare(ByHand(), "RenyiELBO-3", alpha=0.5)


def test_default_objective_is_that_of_fit():
    assert_equal_to_eager(
        ByHand(), None, torch.randn(ROWS, WIDTH), eager_objective=TraceMeanField_ELBO(max_plate_nesting=1)
    )


@pytest.mark.parametrize("infer", [None, {"enumerate": "parallel"}])
def test_enumeration_is_right_or_refused(infer):
    pair, x = Classes(), torch.randn(ROWS, WIDTH)
    pair.infer = infer
    with suppress(pyvae.TraceError):
        assert_equal_to_eager(pair, TraceEnum_ELBO(max_plate_nesting=1), x)


def test_enumeration_by_a_decorator_is_right_or_refused():
    pair = Classes()
    pair.guide = config_enumerate(pair.guide)
    with suppress(pyvae.TraceError):
        assert_equal_to_eager(pair, TraceEnum_ELBO(max_plate_nesting=1), torch.randn(ROWS, WIDTH))


def test_a_decaying_baseline_is_refused():
    """It lives in the param store, which a recording does not see."""
    pair = Discrete()
    pair.infer = {"baseline": {"use_decaying_avg_baseline": True}}
    with pytest.raises(pyvae.TraceError):
        pyvae.compile(pair, TraceGraph_ELBO())(torch.randn(ROWS, WIDTH))


def test_parameters_of_the_store_alone_are_read_or_refused():
    class Stray(ByHand):
        def decode(self, z):
            return super().decode(z) * pyro.param("factor", torch.tensor(2.0))

    pair, x = Stray(), torch.randn(ROWS, WIDTH)
    try:
        compiled = pyvae.compile(pair, Trace_ELBO())
        pyro.param("factor", torch.tensor(5.0))
        loss, _ = compiled_results(compiled, x)
    except pyvae.TraceError:
        return
    pyro.set_rng_seed(0)
    assert float(loss) == pytest.approx(Trace_ELBO().loss(pair.model, pair.guide, x), rel=1e-6)


def test_a_buffer_that_is_assigned_to_moves_or_is_refused():
    class Counting(ByHand):
        def __init__(self):
            super().__init__()
            self.register_buffer("runs", torch.zeros(()))

        def guide(self, x):
            self.runs = self.runs + 1
            super().guide(x)

    try:
        compare(Counting(), "Trace_ELBO-1")
    except pyvae.TraceError:
        return


def test_the_gradient_of_an_argument_is_given_or_refused():
    outside = nn.Linear(WIDTH, WIDTH)
    try:
        pyvae.compile(ByHand())(outside(torch.randn(ROWS, WIDTH))).backward()
    except pyvae.TraceError:
        return
    assert outside.weight.grad is not None
