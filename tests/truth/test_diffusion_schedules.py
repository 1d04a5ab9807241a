"""Schedules and the quantities of the forward process against plain formulas of betas."""

import math

import pytest
import torch
from pyro import poutine

import pyvae
from pyvae.models.forward_process import ForwardProcess
from pyvae.networks import CosineNoise, LearnedNoise, LinearNoise
from tests.truth.diffusions import Betas, some_betas


@pytest.fixture
def double():
    """Modules made in float64, so that schedules keep all digits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def close(actual, expected):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


def betas_of(log_snr):
    bar = torch.cat([torch.ones(1), log_snr.sigmoid()])
    return 1 - bar[1:] / bar[:-1]


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
@pytest.mark.parametrize("event_shape", [(), (3,), (1, 2, 2)])
def test_quantities_of_the_forward_process(steps, event_shape):
    betas = some_betas(steps).tolist()
    process = ForwardProcess(Betas(betas)(), len(event_shape))
    assert process.steps == steps
    x_0, x_t = torch.randn(2, 5, *event_shape, dtype=torch.float64)
    rows = {}
    for t in range(1, steps + 1):
        beta, alpha = betas[t - 1], 1 - betas[t - 1]
        bar = math.prod(1 - b for b in betas[:t])
        before = bar / alpha
        close(process.signal(t).squeeze(), math.sqrt(bar))
        close(process.noise(t).squeeze(), math.sqrt(1 - bar))
        close(process.snr(t).squeeze(), bar / (1 - bar))
        close(process.beta(t).squeeze(), beta)
        mean = (math.sqrt(before) * beta * x_0 + math.sqrt(alpha) * (1 - before) * x_t) / (1 - bar)
        close(process.posterior_mean(x_t, x_0, t), mean)
        late = max(t, 2)
        spread = betas[0]
        if steps > 1:
            product = math.prod(1 - b for b in betas[:late])
            spread = betas[late - 1] * (1 - product / (1 - betas[late - 1])) / (1 - product)
        close(process.posterior_variance(t).squeeze(), spread)
        marginal, step = process.marginal(x_0, t), process.step(x_0, t)
        close(marginal.mean, math.sqrt(bar) * x_0)
        close(marginal.variance, torch.full_like(x_0, 1 - bar))
        close(step.mean, math.sqrt(alpha) * x_0)
        close(step.variance, torch.full_like(x_0, beta))
        assert marginal.event_shape == step.event_shape == torch.Size(event_shape)
        rows[t] = mean
        if t > 1:
            posterior = process.posterior(x_t, x_0, t)
            close(posterior.mean, mean)
            close(posterior.variance, torch.full_like(x_0, spread))
    t = torch.arange(5) % steps + 1  # a step for each datapoint
    close(process.posterior_mean(x_t, x_0, t), torch.stack([rows[int(s)][n] for n, s in enumerate(t)]))
    assert process.signal(t).shape == (5, *[1] * len(event_shape))


def test_the_first_step_gives_the_data_back():
    process = ForwardProcess(Betas(some_betas())(), 1)
    x_0, x_t = torch.randn(2, 5, 3, dtype=torch.float64)
    close(process.posterior_mean(x_t, x_0, 1), x_0)
    assert process.signal(0) == 1
    assert process.noise(0) == 0


def test_a_thousand_steps_keep_their_digits_in_single_precision():
    """β_t is 1 − ᾱ_t/ᾱ_{t−1}, of which float32 has no digits if ᾱ is subtracted from 1."""
    betas = torch.linspace(1e-6, 0.02, 1000, dtype=torch.float64)
    single, exact = (ForwardProcess(Betas(betas)().to(d), 0) for d in (torch.float32, torch.float64))
    t = torch.arange(1, 1001)
    for name in ("beta", "noise", "signal", "snr", "posterior_variance", "data_weight", "state_weight"):
        ours, theirs = (getattr(p, name)(t).double() for p in (single, exact))
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-10)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("steps", [1, 100, 1000])
def test_linear_schedule(steps):
    schedule = LinearNoise(steps)
    expected = [min(0.999, (1e-4 + (0.02 - 1e-4) * t / max(steps - 1, 1)) * 1000 / steps) for t in range(steps)]
    torch.testing.assert_close(betas_of(schedule()), torch.tensor(expected), rtol=1e-6, atol=1e-9)
    assert list(schedule.parameters()) == []
    assert schedule.state_dict() == {}
    if steps > 1:
        assert 1e-5 < schedule()[-1].sigmoid() < 1e-4


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("steps", [1, 100, 1000])
def test_cosine_schedule(steps):
    def f(t):
        return math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2

    log_snr = CosineNoise(steps)()
    bar = torch.tensor([f(t) / f(0) for t in range(1, steps)])
    torch.testing.assert_close(log_snr[:-1].sigmoid(), bar, rtol=1e-9, atol=1e-12)
    assert betas_of(log_snr)[-1] == pytest.approx(0.999, rel=1e-6)
    assert LearnedNoise(steps)().detach().allclose(log_snr)


def test_learned_schedules_fall_for_other_parameters():
    schedule = LearnedNoise(20)
    for _ in range(20):
        with torch.no_grad():
            schedule.falls.normal_(std=2)
            schedule.first.normal_(std=5)
        assert schedule().shape == (20,)
        assert (schedule().diff() < 0).all()
    schedule()[-1].backward()
    assert all((p.grad != 0).all() for p in schedule.parameters())


@pytest.mark.parametrize("make", [LinearNoise, CosineNoise, LearnedNoise])
def test_schedules_of_any_number_of_steps(make):
    for steps in (1, 2, 7, 50):
        pair = pyvae.DiffusionVAE(pyvae.networks.TimeMLP(2), 2, make(steps))
        assert pair.process().steps == steps
        trace = poutine.trace(pair.model).get_trace(size=3)
        assert all(trace.nodes[f"x_{t}"]["value"].isfinite().all() for t in range(steps + 1))
    for wrong in (0, -1, 2.5, True, None):
        with pytest.raises(pyvae.ArgumentError, match="steps is"):
            make(wrong)
