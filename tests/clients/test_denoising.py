"""Drawing from diffusions by denoise, and networks with the call of diffusers."""

import math

import pyro
import pytest
import torch
from torch import nn

import pyvae
from pyvae import networks
from pyvae.models import denoise
from tests.clients.diffusions import IMAGE, LikeDiffusers, digits, images, vectors
from tests.truth.diffusions import PREDICTIONS, Betas, Exact, some_betas

SCALE = torch.tensor([0.3, 1.7])


def like_diffusers(classes=None, steps=10, levels=None, **arguments):
    channels = 2 if arguments.get("variance") == "learned" else 1
    network = LikeDiffusers(classes, channels)
    schedule = networks.CosineNoise(steps)
    pair = pyvae.DiffusionVAE(network, IMAGE, schedule, levels=levels, num_classes=classes, **arguments)
    network.calls.clear()
    return pair


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_shapes_modes_and_seeds(eta):
    pair = images()
    nn.init.normal_(pair.network.image.network.head.weight)
    pair.network.eval()
    modes = [m.training for m in pair.modules()]
    draws = []
    for seed in (0, 0, 1):
        pyro.set_rng_seed(seed)
        draws.append(denoise(pair, size=3, eta=eta))
    assert draws[0].shape == (3, *IMAGE)
    assert not draws[0].requires_grad
    assert 0 <= draws[0].min() < draws[0].max() <= 1
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert [m.training for m in pair.modules()] == modes
    assert denoise(vectors()).shape == (1, 3)
    assert denoise(vectors().double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("steps", "times"),
    [(None, range(10, 0, -1)), (10, range(10, 0, -1)), (4, [10, 7, 4, 1]), (2, [10, 1]), (1, [10])],
)
def test_fewer_steps_call_the_network_less(steps, times):
    pair = like_diffusers()
    denoise(pair, size=2, steps=steps)
    assert [t.tolist() for t, _ in pair.network.calls] == [[t - 1] * 2 for t in times]


def test_one_step_is_the_guess_from_noise():
    pair = vectors()
    pyro.set_rng_seed(3)
    drawn = denoise(pair, size=4, steps=1)
    pyro.set_rng_seed(3)
    expected = pair.predict(pair.process(), torch.randn(4, 3), 8, None)[0]
    torch.testing.assert_close(drawn, expected)


def test_the_path_without_noise_is_determined_by_its_start():
    """The seed moves on after x_T, and nothing changes."""
    pair, draws = vectors(), []
    for noisy in (False, True):
        pyro.set_rng_seed(0)
        first, original = [], torch.randn_like

        def other(x, noisy=noisy, first=first, original=original):
            first.append(x)
            return original(x) * (1 + noisy)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn_like", other)
            draws.append([denoise(pair, size=4, eta=0.0), denoise(pair, size=4, eta=1.0)])
    assert torch.equal(draws[0][0], draws[1][0])
    assert not torch.equal(draws[0][1], draws[1][1])


def spread(betas, times, eta):
    """Standard deviations of x_0 by equations 12 and 16 of Song, Meng and Ermon (2021), of x_T ~ N(0, I)."""
    bars, variance = [1.0], torch.ones(2).double()
    for beta in betas.tolist():
        bars.append(bars[-1] * (1 - beta))
    for t, s in zip(times, [*times[1:], 0], strict=True):
        bar, before = bars[t], bars[s]
        guess = math.sqrt(bar) * SCALE.double() ** 2 / (bar * SCALE.double() ** 2 + 1 - bar)
        sigma = eta * math.sqrt((1 - before) / (1 - bar) * (1 - bar / before))
        noise = (1 - math.sqrt(bar) * guess) / math.sqrt(1 - bar)
        gain = math.sqrt(before) * guess + math.sqrt(max(1 - before - sigma**2, 0)) * noise
        variance = gain**2 * variance + (sigma**2 if s else 0.0)
    return variance.sqrt()


def ancestral_spread(betas):
    """The same of the model with the variances β̃_t, without the noise of the last step."""
    variance, bars = torch.ones(2).double(), torch.cat([torch.ones(1).double(), (1 - betas).cumprod(0)])
    for t in range(len(betas), 0, -1):
        beta, bar, before = betas[t - 1], bars[t], bars[t - 1]
        guess = bar.sqrt() * SCALE.double() ** 2 / (bar * SCALE.double() ** 2 + 1 - bar)
        gain = (before.sqrt() * beta * guess + (1 - beta).sqrt() * (1 - before)) / (1 - bar)
        variance = gain**2 * variance + beta * (1 - before) / (1 - bar)
    return variance.sqrt()


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(("eta", "steps"), [(0.0, None), (0.5, 5), (1.0, 4), (1.0, None)])
def test_moments_of_draws_of_gaussian_data(prediction, eta, steps):
    betas = some_betas()
    network = Exact(SCALE, betas, prediction, learned=False)
    pair = pyvae.DiffusionVAE(network, 2, Betas(betas), prediction, "posterior")
    drawn = denoise(pair, size=40_000, eta=eta, steps=steps)
    times = {None: list(range(10, 0, -1)), 5: [10, 8, 6, 3, 1], 4: [10, 7, 4, 1]}[steps]
    expected = spread(betas, times, eta)
    torch.testing.assert_close(drawn.std(0), expected, rtol=0.015, atol=0)
    assert (drawn.mean(0).abs() < 4 * expected / 200).all()
    if (eta, steps) == (1.0, None):
        ancestral = ancestral_spread(betas)
        torch.testing.assert_close(expected, ancestral)
        last = pair.fixed_variance(pair.process(), 1).squeeze()
        model = pair.model(size=40_000).std(0)
        torch.testing.assert_close(model, (ancestral**2 + last).sqrt(), rtol=0.015, atol=0)
        assert ((spread(betas, times, 0.0) - expected).abs() > 0.02 * expected).any()


class Labelled(nn.Module):
    """x̂_0 = y."""

    def forward(self, x, t, y):
        return y[:, None].expand_as(x).to(x)


def test_guidance_moves_the_guess_away_from_that_without_a_label():
    pair = pyvae.DiffusionVAE(Labelled(), 2, networks.CosineNoise(5), prediction="data", num_classes=3)
    y = torch.tensor([0, 1, 2])
    for guidance in (0.0, 0.5, 3.0):
        expected = (y + guidance * (y - 3))[:, None].expand(3, 2)
        torch.testing.assert_close(denoise(pair, y=y, guidance=guidance), expected.float())
    torch.testing.assert_close(denoise(pair, size=2), torch.full((2, 2), 3.0))


def test_guidance_changes_draws_and_is_counted():
    pair = like_diffusers(classes=3, levels=17)
    nn.init.normal_(pair.network.convolution.weight)
    y = torch.tensor([0, 1, 2, 0])
    denoise(pair, y=y, guidance=2.0, steps=3)
    assert len(pair.network.calls) == 6
    assert [bool((given == 3).all()) for _, given in pair.network.calls] == [False, True] * 3
    conditional = vectors(classes=3)
    draws = []
    for guidance in (0.0, 2.0):
        pyro.set_rng_seed(0)
        draws.append(denoise(conditional, y=y, guidance=guidance))
        assert draws[-1].shape == (4, 3)
    assert not torch.allclose(*draws)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"eta": -0.1}, pyvae.ArgumentError, "eta is -0.1"),
        ({"eta": 1.5}, pyvae.ArgumentError, "eta is 1.5"),
        ({"guidance": 1.0}, pyvae.ArgumentError, "guidance needs labels"),
        ({"steps": 0}, pyvae.ArgumentError, "steps is 0"),
        ({"steps": 2.0}, pyvae.ArgumentError, "steps is 2.0"),
        ({"steps": 9}, pyvae.ArgumentError, "steps is 9; the diffusion has 8"),
        ({"y": torch.zeros(3).long()}, pyvae.DataError, "num_classes"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        denoise(vectors(), **arguments)


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("variance", ["posterior", "learned"])
def test_networks_with_the_call_of_diffusers(classes, variance):
    pair = like_diffusers(classes, levels=17, variance=variance)
    x, y = digits(12)
    data = (x, y) if classes else x
    for each in (pair, pyvae.SingleStep(pair)):
        assert pyvae.elbo(each, data, num_particles=3).per_datapoint.shape == (12,)
    before = [p.detach().clone() for p in pair.parameters()]
    pyvae.fit(pyvae.SingleStep(pair), data, epochs=1, batch_size=6, seed=0, progress=False)
    assert not any(torch.equal(p, b) for p, b in zip(pair.parameters(), before, strict=True))
    assert pair.model(size=2).shape == denoise(pair, size=2).shape == (2, *IMAGE)


@pytest.mark.parametrize("classes", [None, 3])
def test_unet_of_diffusers(classes):
    diffusers = pytest.importorskip("diffusers")
    network = diffusers.UNet2DModel(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        num_class_embeds=None if classes is None else classes + 1,
    )
    pair = pyvae.DiffusionVAE(network, IMAGE, networks.CosineNoise(4), levels=17, num_classes=classes)
    x, y = digits(6)
    data = (x, y) if classes else (x,)
    single = pyvae.SingleStep(pair)
    pyvae.fit(single, data, epochs=2, batch_size=3, seed=0, progress=False)
    assert pyvae.elbo(pair, data, num_particles=2).per_datapoint.isfinite().all()
    assert pair.model(size=2).shape == denoise(pair, size=2, steps=2).shape == (2, *IMAGE)
    x_t, t = torch.randn(6, *IMAGE), torch.arange(6) % 4 + 1
    labels = (y,) if classes else ()
    guess, _ = pair.predict(pair.process(), x_t, t, *labels or (None,))
    process = pair.process()
    noise = network(x_t, t - 1, *labels).sample
    torch.testing.assert_close(process.signal(t) * guess + process.noise(t) * noise, x_t, atol=1e-4, rtol=1e-4)
