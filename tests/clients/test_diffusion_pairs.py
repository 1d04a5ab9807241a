"""Diffusions as users write, train, draw from and misuse them."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from torch import nn

import pyvae
from pyvae import networks
from tests.clients.diffusions import IMAGE, LikeDiffusers, digits, images, toy, vectors

PROGRAMS = {
    "chain": lambda d: (d, d.model, d.guide),
    "forward": lambda d: (d, d.model, d.forward_guide),
    "single": lambda d: (s := pyvae.SingleStep(d), s.model, s.guide),
}
every = pytest.mark.parametrize("programs", PROGRAMS.values(), ids=PROGRAMS)


def train(model, guide, *data, steps=120):
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    losses = [svi.step(*data) for _ in range(steps)]
    return sum(losses[:10]) / 10, sum(losses[-10:]) / 10


@every
@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"variance": "learned", "schedule": networks.LearnedNoise}, marks=pytest.mark.slow)],
    ids=["default", "learned"],
)
def test_svi_trains_every_parameter(programs, options):
    diffusion = vectors(steps=5, **options)
    pair, model, guide = programs(diffusion)
    before = {n: p.detach().clone() for n, p in pair.named_parameters()}
    elbo = pyvae.elbo(diffusion, toy(), seed=0).value
    first, last = train(model, guide, toy())
    assert last < 0.8 * first
    assert pyvae.elbo(diffusion, toy(), seed=0).value > elbo + 1
    assert not any(torch.equal(p, before[n]) for n, p in diffusion.named_parameters())
    assert len(pyro.get_param_store()) == len(before)


def test_draws_predictions_and_conditioning():
    pair, x = vectors(), toy(5)
    assert pair.model(size=3).shape == (3, 3)
    assert pair.model().shape == (1, 3)
    assert pair.guide(x).shape == pair.forward_guide(x).shape == (5, 3)
    draws = Predictive(pair.model, guide=pair.guide, num_samples=7, parallel=True)(x)
    assert all(draws[f"x_{t}"].shape == (7, 5, 3) for t in range(1, 9))
    generated = Predictive(pair.model, num_samples=7)(size=5)
    assert set(generated) == {f"x_{t}" for t in range(9)}
    assert generated["x_0"].shape == (7, 5, 3)
    z = torch.randn(5, 3)
    trace = poutine.trace(poutine.condition(pair.model, data={"x_5": z})).get_trace(size=5)
    assert [n for n in trace.nodes if n[0] == "x"] == [f"x_{t}" for t in range(8, -1, -1)]
    assert trace.nodes["x_5"]["is_observed"]
    assert not trace.nodes["x_4"]["is_observed"]
    expected = pair.reverse(pair.process(), z, 5, None)
    torch.testing.assert_close(trace.nodes["x_4"]["fn"].mean, expected.mean)


def test_images_on_a_grid():
    pair, (x, _) = images(), digits()
    single = pyvae.SingleStep(pair)
    before = pyvae.elbo(pair, x, num_particles=5, seed=0)
    first, last = train(single.model, single.guide, x, steps=60)
    assert last < 0.5 * first
    after = pyvae.elbo(pair, x, num_particles=5, seed=0)
    assert before.value < after.value < 0
    drawn = pair.model(size=4)
    assert drawn.shape == (4, *IMAGE)
    assert torch.equal(drawn, (drawn * 16).round() / 16)
    assert 0 <= drawn.min() < drawn.max() <= 1
    trace = poutine.trace(pair.guide).get_trace(2 * x.round() / 2)
    assert trace.nodes["x_1"]["value"].mean() < 0.5  # −1 to 1, and most pixels are dark
    for program in (pair, single):
        with pytest.raises(pyvae.DataError, match=r"support|outside"):
            pyvae.elbo(program, x + 2)


def test_labels_are_those_that_the_network_gets():
    network = LikeDiffusers(classes=3)
    pair = pyvae.DiffusionVAE(network, IMAGE, networks.CosineNoise(4), levels=17, num_classes=3)
    x, y = digits(6)
    for program, labels in (
        (lambda: pair.model(x, y), y),
        (lambda: pair.model(y=y), y),
        (lambda: pair.model(x), torch.full((6,), 3)),
        (lambda: pair.model(size=6), torch.full((6,), 3)),
        (lambda: pyvae.SingleStep(pair).eval().model(x, y), y),
        (lambda: pyvae.SingleStep(pair, drop_labels=0).model(x, y), y),
        (lambda: pyvae.SingleStep(pair, drop_labels=1).model(x, y), torch.full((6,), 3)),
        (lambda: pyvae.SingleStep(pair, drop_labels=1).eval().model(x, y), y),
        (lambda: pyvae.SingleStep(pair).model(x), torch.full((6,), 3)),
    ):
        network.calls.clear()
        program()
        assert len(network.calls) in (1, 4)
        assert all(torch.equal(given, labels) for _, given in network.calls)
        if len(network.calls) == 4:
            assert [t.unique().item() for t, _ in network.calls] == [3, 2, 1, 0]


def test_labels_are_hidden_only_in_training():
    network = LikeDiffusers(classes=3)
    pair = pyvae.DiffusionVAE(network, IMAGE, networks.CosineNoise(4), levels=17, num_classes=3)
    x, y = digits(2000)
    single = pyvae.SingleStep(pair, drop_labels=0.3)
    single.model(x, y)
    given = network.calls[-1][1]
    hidden = given == 3
    assert torch.equal(given[~hidden], y[~hidden])
    assert abs(hidden.float().mean() - 0.3) < 0.05
    single.eval().model(x, y)
    assert torch.equal(network.calls[-1][1], y)


def test_a_conditional_diffusion_draws_its_classes():
    means, y = 2 * torch.randn(3, 3), torch.arange(96) % 3
    x = means[y] + 0.1 * torch.randn(96, 3)
    pair = vectors(classes=3)
    options = {"optimizer": lambda p: torch.optim.Adam(p, 1e-2), "batch_size": 32, "seed": 0, "progress": False}
    pyvae.fit(pyvae.SingleStep(pair, weighting="simple"), (x, y), epochs=100, **options)
    wanted = torch.tensor([0, 2, 1, 1]).repeat_interleave(50)
    nearest = torch.cdist(pair.model(y=wanted), means).argmin(-1)
    assert (nearest == wanted).float().mean() > 0.9
    assert torch.cdist(pair.model(size=300), means).argmin(-1).unique().numel() == 3
    known, unknown = (pyvae.elbo(pair, data, num_particles=5, seed=0).value for data in ((x, y), x))
    assert known > unknown


def test_calls_without_a_meaning_are_refused():
    x, y = toy(4), torch.tensor([0, 1, 2, 0])
    pair = vectors()
    single = pyvae.SingleStep(pair)
    for program in (lambda: pair.model(x, y), lambda: pair.model(y=y), lambda: single.model(x, y)):
        with pytest.raises(pyvae.DataError, match="num_classes"):
            program()
    for program in (pair.guide, pair.forward_guide, single.guide, single.model, lambda: single.model(size=3)):
        with pytest.raises(pyvae.DataError, match="got no x"):
            program()
    with pytest.raises(pyvae.DataError, match="as many labels"):
        vectors(classes=3).model(x, y[:3])


class Gives(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, *inputs):
        return self.output(*inputs)


class Schedule(Gives):
    def __init__(self, *values):
        super().__init__(lambda: torch.tensor(values))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prediction": "score"}, pyvae.ArgumentError, "prediction is 'score'; expected one of noise, data, velocity"),
        ({"variance": "fixed"}, pyvae.ArgumentError, "variance is 'fixed'"),
        ({"levels": 1}, pyvae.ArgumentError, "levels is 1"),
        ({"levels": 16.0}, pyvae.ArgumentError, "levels is 16.0"),
        ({"num_classes": 0}, pyvae.ArgumentError, "num_classes is 0"),
        ({"num_classes": True}, pyvae.ArgumentError, "num_classes is True"),
        ({"variance": "learned"}, pyvae.PairError, r"gave shape \(2, 3\).*expected \(2, 6\)"),
        ({"network": networks.TimeMLP(3, 6)}, pyvae.PairError, r"gave shape \(2, 6\).*expected \(2, 3\)"),
        ({"network": Gives(lambda x, t: "x")}, pyvae.PairError, r"gave str; expected a tensor"),
        ({"schedule": Schedule(1.0, 1.0, 0.0)}, pyvae.PairError, "schedule"),
        ({"schedule": Schedule(0.0, 1.0)}, pyvae.PairError, "schedule"),
        ({"schedule": Schedule(1.0, torch.nan)}, pyvae.PairError, "schedule"),
        ({"schedule": Gives(lambda: torch.zeros(2, 2))}, pyvae.PairError, "schedule"),
        ({"schedule": Gives(lambda: [1.0, 0.0])}, pyvae.PairError, "schedule"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    given = {"network": networks.TimeMLP(3), "event_shape": 3, "schedule": networks.CosineNoise(3)}
    with pytest.raises(error, match=message):
        pyvae.DiffusionVAE(**given | arguments)


def test_wrong_arguments_of_a_single_step_are_refused():
    with pytest.raises(pyvae.ArgumentError, match="weighting is 'snr'"):
        pyvae.SingleStep(vectors(), weighting="snr")
    for wrong in (-0.1, 1.1, torch.nan):
        with pytest.raises(pyvae.ArgumentError, match="drop_labels"):
            pyvae.SingleStep(vectors(), drop_labels=wrong)
