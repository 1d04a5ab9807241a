"""The distance between spectrograms, and what a distance does to a vector-quantized VAE."""

import math

import pytest
import torch
from pyro.infer import Trace_ELBO
from scipy.signal import ShortTimeFFT
from torch import nn

import pyvae
from pyvae import likelihoods, priors, quantizers
from pyvae.networks import SpectralDistance


def test_it_is_the_difference_of_scipys_spectrograms():
    x, y = torch.randn(2, 1, 400).double(), torch.randn(2, 1, 400).double()
    window = torch.hann_window(64).double()
    transform = ShortTimeFFT((window / window.square().sum().sqrt()).numpy(), hop=16, fs=1, mfft=64)

    def log_power(signal):
        padded = torch.nn.functional.pad(signal[None], (32, 32), mode="reflect")[0]
        spectrum = transform.stft(padded.numpy(), p0=2, p1=2 + 400 // 16 + 1, axis=-1)
        return (torch.from_numpy(abs(spectrum)).square() + 1e-4).log()

    distance = SpectralDistance(weight=3.0, windows=[64]).double()
    for a, b, d in zip(x[:, 0], y[:, 0], distance(x, y), strict=True):
        assert float(d) == pytest.approx(3 * float((log_power(a) - log_power(b)).abs().mean()) / 2, rel=1e-6)


def test_noise_twice_as_loud_is_log_two_away():
    """In each resolution: half of the logarithm of four times the power."""
    x = 100 * torch.randn(3, 2, 4000)
    resolutions = (64, 256)
    torch.testing.assert_close(
        SpectralDistance(windows=resolutions)(x, 2 * x), torch.full((3,), 2 * math.log(2)), rtol=1e-3, atol=0
    )


def test_it_is_deaf_to_signs_and_nearly_to_phases():
    times = torch.arange(4000) / 8.0
    x, shifted, other = (torch.sin(times * f + p)[None, None] for f, p in ((1.0, 0.0), (1.0, 1.5), (2.0, 0.0)))
    distance = SpectralDistance()
    assert float(distance(x, -x)) == 0
    assert float(distance(x, shifted)) < 0.3 * float(distance(x, other))


def test_leading_dims_and_gradients_of_silence():
    x, y = torch.randn(4, 3, 1, 1000), torch.zeros(4, 3, 1, 1000, requires_grad=True)
    distance = SpectralDistance()(x, y)
    assert distance.shape == (4, 3)
    torch.testing.assert_close(distance[1, 2], SpectralDistance()(x[1:2, 2], y[1:2, 2])[0])
    distance.sum().backward()
    assert y.grad.isfinite().all()


def test_bad_arguments():
    for arguments in ({"weight": 0}, {"floor": -1.0}, {"windows": [0]}, {"windows": []}, {"windows": [64, 3]}):
        with pytest.raises(pyvae.ArgumentError):
            SpectralDistance(**arguments)
    with pytest.raises(pyvae.ArgumentError, match="400 samples"):
        SpectralDistance()(torch.zeros(1, 1, 400), torch.zeros(1, 1, 400))


class Squares(nn.Module):
    """A distance: half of the squared error."""

    def forward(self, x, y):
        return (x - y).square().sum(-1) / 2


def make(distance):
    torch.manual_seed(1)
    return pyvae.VQVAE(
        prior=priors.FactorizedCodes((4,), num_codes=6),
        likelihood=likelihoods.Normal(nn.Sequential(nn.Flatten(-2), nn.Linear(12, 5)), event_shape=5),
        encoder=nn.Sequential(nn.Linear(5, 12), nn.Unflatten(-1, (3, 4))),
        quantizer=quantizers.VectorQuantizer(num_codes=6, dim=3),
        distance=distance,
    )


def test_a_distance_is_paid_in_training_alone():
    """With half of the squared error for a distance, that of a unit normal counts twice."""
    x = torch.randn(16, 5)
    paid, plain = make(Squares()).train(), make(None).train()
    squares = (
        plain.likelihood(plain.quantizer(plain.encoder(x).movedim(1, -1)).vectors.movedim(-1, 1)).mean - x
    ).square()
    loss, without = (Trace_ELBO().loss(p.model, p.guide, x) for p in (paid, plain))
    assert loss == pytest.approx(without + squares.sum().item() / 2, rel=1e-5)
    assert pyvae.elbo(make(Squares()), x).value == pyvae.elbo(make(None), x).value
    assert make(Squares()).model(size=3).shape == (3, 5)


def test_distances_that_do_not_fit_are_refused():
    with pytest.raises(pyvae.PairError, match=r"distance: gave shape \(2, 5\) for 2 datapoints"):
        make(Elementwise())
    with pytest.raises(pyvae.PairError, match="distance: gave a float"):
        make(Number())
    with pytest.raises(pyvae.PairError, match="distance is a float"):
        make(1.0)


class Number(nn.Module):
    def forward(self, x, y):
        return 1.0


class Elementwise(nn.Module):
    def forward(self, x, y):
        return x - y
