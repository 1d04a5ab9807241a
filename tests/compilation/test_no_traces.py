"""Recording a pair, compiling it and training it leave nothing behind but what training is for."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceGraph_ELBO

import pyvae
from tests.compilation.pairs import PAIRS, WIDTH, ByHand
from tests.compilation.snapshots import assert_unchanged, fakes, snapshot

pytestmark = [
    pytest.mark.usefixtures("interpreted"),
    pytest.mark.filterwarnings("ignore:.*was not registered in the param store:UserWarning"),
]


def prepared(make):
    """A pair with a history: gradients, a frozen parameter, entries in the param store under its own names."""
    pair = make()
    parameters = list(pair.parameters())
    parameters[0].requires_grad_(False)
    parameters[1].grad = torch.ones_like(parameters[1])
    pyro.module("pair", pair)
    pyro.param("another", torch.ones(3))
    return pair


@pytest.mark.parametrize("objective", [Trace_ELBO(), TraceGraph_ELBO()])
@pytest.mark.parametrize("make", PAIRS, ids=lambda m: m.__name__)
def test_recording(make, objective, monkeypatch):
    """All that comes before a program runs: inspection, recording, and a compiler that fails."""
    reached = []

    def fail(*args):
        reached.append(True)
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch._inductor, "compile", fail)
    pair, x = prepared(make), torch.randn(6, WIDTH)
    before = snapshot(pair)
    with pytest.raises(pyvae.TraceError, match="no compiler"):
        pyvae.compile(pair, objective)(x)
    assert reached
    assert_unchanged(pair, before)


def test_a_failed_recording_in_the_middle_of_the_guide():
    class Failing(ByHand):
        def encode(self, x):
            torch.randn(3)
            return x.mean().item() * super().encode(x)

    pair = prepared(Failing)
    before = snapshot(pair)
    with pytest.raises(pyvae.TraceError):
        pyvae.compile(pair)(torch.zeros(6, WIDTH))
    assert_unchanged(pair, before)


def test_compiling_happens_in_other_pairs_absence():
    """Names in the param store that are taken by another pair are not read."""
    pair = ByHand()
    pyro.param("pair$$$encoder.weight", torch.full((WIDTH, WIDTH), 100.0))
    pyro.set_rng_seed(0)
    loss = pyvae.compile(pair)(torch.zeros(6, WIDTH))
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    assert float(loss.detach()) == float(pyvae.compile(pair)(torch.zeros(6, WIDTH)).detach())


def test_training_leaves_no_fake_tensors_and_no_streams_moved():
    pair, x = ByHand(), torch.randn(24, WIDTH)
    before = snapshot(pair)
    pyvae.fit(pair, x, epochs=2, batch_size=8, seed=0, compile=True, progress=False)
    after = snapshot(pair)
    assert not list(fakes(pair))
    assert torch.equal(before["torch"], after["torch"])
    for name in ("python", "store", "modules", "modes", "requires_grad"):
        assert before[name] == after[name]


def test_no_fake_gradient_is_left_on_plain_tensors():
    class Odd(ByHand):
        def __init__(self):
            super().__init__()
            self.factor = torch.ones((), requires_grad=True)

        def decode(self, z):
            return self.factor * super().decode(z)

    pair = Odd()
    with pytest.raises(pyvae.TraceError, match="no parameter of the pair"):
        pyvae.compile(pair)(torch.zeros(6, WIDTH))
    assert not list(fakes(pair))


def test_attributes_that_are_distributions_stay_whole():
    """Distributions cache tensors lazily, which would be fake ones while recording."""

    class Fixed(ByHand):
        def __init__(self):
            super().__init__()
            self.noise = dist.MultivariateNormal(torch.zeros(WIDTH), precision_matrix=torch.eye(WIDTH))

        def decode(self, z):
            return super().decode(z) + self.noise.variance + self.noise.covariance_matrix.sum()

    pair, x = Fixed(), torch.randn(6, WIDTH)
    pyvae.compile(pair)(x).backward()
    assert not any("Fake" in type(v).__name__ for v in vars(pair.noise).values())
    pyro.set_rng_seed(0)
    Trace_ELBO().loss(pair.model, pair.guide, x)  # runs on what is there
