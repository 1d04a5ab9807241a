"""All versions of a workload estimate the same ELBO, and all ways train it. Run with ``pytest benchmarks``."""

import copy
import statistics
from collections.abc import Callable

import pyro
import pytest
import torch
from pyro.infer import ELBO, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

from benchmarks import ways, workloads
from benchmarks.workloads import Versions, Workload

NAMES = ["mlp", "conv", "chain1", "chain4"]
COMPILED = ["compiled", "pyvae"]
ROWS = 16
DRAWS = 200


@pytest.fixture(params=NAMES)
def workload(request: pytest.FixtureRequest) -> Workload:
    """Each kind of workload."""
    return workloads.named(request.param)


@pytest.fixture
def versions(workload: Workload) -> Versions:
    """Its versions, with weights far enough from zero for every term of the ELBO to matter."""
    versions = workload.seeded(0)
    with torch.no_grad():
        for parameter in versions.by_hand.parameters():
            parameter.mul_(1.5)
    return versions


@pytest.fixture
def x(workload: Workload) -> Tensor:
    """A batch."""
    return workloads.images(ROWS, workload.shape, 1)


def _loss(objective: ELBO, pair: nn.Module, x: Tensor) -> Tensor:
    pyro.clear_param_store()
    return objective.differentiable_loss(pair.model, pair.guide, x) / len(x)


def _gradients(loss: Tensor, module: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters())))


def _alike(draw: Callable[[], float], other: Callable[[], float]) -> None:
    """Two estimates have the same mean, as far as their spread over many draws tells."""
    first, second = [draw() for _ in range(DRAWS)], [other() for _ in range(DRAWS)]
    error = ((statistics.variance(first) + statistics.variance(second)) / DRAWS) ** 0.5
    assert abs(statistics.mean(first) - statistics.mean(second)) < 5 * error + 1e-4 * abs(first[0])


@pytest.mark.parametrize("kind", ["plain", "pair"])
def test_pyro_and_hand_agree_draw_by_draw(workload: Workload, versions: Versions, x: Tensor, kind: str) -> None:
    """The same random stream gives the same loss and the same gradient."""
    objective = TraceMeanField_ELBO() if workload.analytic else Trace_ELBO()
    torch.manual_seed(2)
    by_hand = versions.by_hand(x)
    torch.manual_seed(2)
    by_pyro = _loss(objective, getattr(versions, kind), x)
    torch.testing.assert_close(by_pyro, by_hand, rtol=1e-5, atol=1e-3)
    expected = _gradients(by_hand, versions.by_hand)
    for found, wanted in zip(_gradients(by_pyro, versions.by_hand), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_stock_objective_agrees_on_average(versions: Versions, x: Tensor) -> None:
    """Trace_ELBO, with KL by Monte Carlo, has the same mean."""
    torch.manual_seed(3)
    with torch.no_grad():
        _alike(
            lambda: float(versions.by_hand(x)),
            lambda: float(_loss(Trace_ELBO(), versions.plain, x)),
        )


def test_numpyro_agrees_on_average(workload: Workload, versions: Versions, x: Tensor) -> None:
    """NumPyro's programs, with the weights of torch, have the same mean loss."""
    jax = pytest.importorskip("jax")
    pytest.importorskip("numpyro")
    from numpyro.infer import Trace_ELBO, TraceMeanField_ELBO

    from benchmarks.numpyro_pairs import programs

    model, guide = programs(versions.plain)
    objective = TraceMeanField_ELBO() if workload.analytic else Trace_ELBO()
    data = jax.numpy.asarray(x.numpy())
    loss = jax.jit(lambda key: objective.loss(key, {}, model, guide, data) / len(x))
    keys = iter(jax.random.split(jax.random.key(0), DRAWS))
    torch.manual_seed(4)
    with torch.no_grad():
        _alike(lambda: float(versions.by_hand(x)), lambda: float(loss(next(keys))))


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_pythae_agrees_draw_by_draw(name: str) -> None:
    """pythae's VAE with our networks has the same loss from the same random stream."""
    pytest.importorskip("pythae")
    from benchmarks.ways_pythae import pythae_vae

    workload = workloads.named(name)
    module, x = workload.seeded(0).by_hand, workloads.images(ROWS, workload.shape, 1)
    torch.manual_seed(5)
    expected = module(x)
    torch.manual_seed(5)
    found = pythae_vae(module, workload.shape)({"data": x}).loss
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-3)


def test_versions_share_their_weights(versions: Versions) -> None:
    """What trains one trains all."""
    own = {id(p) for p in versions.by_hand.parameters()}
    assert own == {id(p) for p in versions.plain.parameters()} == {id(p) for p in versions.pair.parameters()}


@pytest.mark.parametrize("name", [name for name in ways.NAMES if name not in COMPILED])
def test_ways_train(workload: Workload, name: str) -> None:
    """Every way starts at the same loss and learns; the ways leave the param store as it was."""
    pyro.clear_param_store()
    data = workloads.images(64, workload.shape, 0)
    try:
        way = ways.load(name)(workload, data, 16, 0)
    except ways.NotApplicable as absence:
        pytest.skip(str(absence))
    losses = [way.epoch() for _ in range(10)]
    start = float(copy.deepcopy(workload.seeded(0).by_hand)(data).detach())
    assert abs(losses[0] - start) < 0.1 * start
    assert losses[-1] < 0.95 * losses[0]
    assert len(pyro.get_param_store()) == 0


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_ways_train(name: str) -> None:
    """What torch compiles is tried on one workload alone, as compilation takes a while."""
    workload = workloads.named("mlp")
    way = ways.load(name)(workload, workloads.images(64, workload.shape, 0), 16, 0)
    losses = [way.epoch() for _ in range(10)]
    assert losses[-1] < 0.95 * losses[0]
