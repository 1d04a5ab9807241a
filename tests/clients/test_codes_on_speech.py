"""A vector-quantized VAE of spoken digits. The data's place is the variable PYVAE_DATA_ROOT."""

import os
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import pyvae
from pyvae import datasets, recipes
from pyvae.networks import PixelCNN

ROOT = os.environ.get("PYVAE_DATA_ROOT", "data")
FOLDER = Path(ROOT) / "fsdd" / "recordings"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no spoken digits under {ROOT!r}: set PYVAE_DATA_ROOT"),
]
RATE, BANDS, WINDOW = 8000, 24, 256


def mel_filters():
    """Triangles that are evenly spaced on the mel scale, (BANDS, frequencies)."""
    highest = 2595 * torch.log10(torch.tensor(1 + RATE / 2 / 700))
    centres = 700 * (10 ** (torch.linspace(0, highest, BANDS + 2) / 2595) - 1)
    frequencies = torch.linspace(0, RATE / 2, WINDOW // 2 + 1)
    rising = (frequencies - centres[:-2, None]) / (centres[1:-1] - centres[:-2])[:, None]
    falling = (centres[2:, None] - frequencies) / (centres[2:] - centres[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)


def log_mel(x):
    """Log-mel energies of recordings (N, 1, samples), in 16 stretches of what is not silent at the end."""
    spectrum = torch.stft(x[:, 0], WINDOW, WINDOW // 4, window=torch.hann_window(WINDOW), return_complex=True).abs()
    energies = (mel_filters() @ spectrum.square() + 1e-3).log()
    rows = []
    for row, signal in zip(energies, x[:, 0], strict=True):
        end = 1 + int((signal.abs() > 0.02).nonzero().max()) // (WINDOW // 4)
        rows.append(torch.nn.functional.interpolate(row[None, :, :end], size=16, mode="linear")[0].flatten())
    return torch.stack(rows)


def digits(test):
    """The digits of the recordings, in the order of the data."""
    paths = [p for p in sorted(FOLDER.rglob("*.wav")) if (int(p.stem.split("_")[2]) < 5) == test]
    return [int(p.stem.split("_")[0]) for p in paths]


def test_what_is_said_is_understood_after_a_passage_through_the_codes():
    data = datasets.spoken_digits(ROOT)
    (x, _), (x_test, speakers) = data.train[:], data.test[:]
    judge = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(log_mel(x), digits(False))
    right = torch.from_numpy(judge.predict(log_mel(x_test))) == torch.tensor(digits(True))
    print(f"originals: {right.float().mean():.3f} of {len(right)} understood")
    torch.manual_seed(0)
    pair = recipes.speech(data.shape, data.num_classes, prior_network=partial(PixelCNN, channels=16, layers=4))
    epochs, start = 40, time.perf_counter()
    pyvae.fit(
        pair,
        data.train,
        optimizer=lambda p: torch.optim.Adam(p, lr=1e-3),
        schedule=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs),
        batch_size=16,
        clip_norm=1e4,
        epochs=epochs,
        seed=0,
        progress=False,
    )
    seconds = time.perf_counter() - start
    codes = pair.encode(x_test, speakers)
    usage = pyvae.code_usage(pair, data.test)["k"]
    decoded = pair.decode(codes, speakers)
    error = (decoded - x_test).square().sum() / x_test.square().sum()
    print(f"{seconds:.0f} s of training; {usage}; {usage.uniform_bits:.0f} bits; error of the waveform {error:.3f}")
    understood = torch.from_numpy(judge.predict(log_mel(decoded))) == torch.tensor(digits(True))
    kept = (understood & right).sum() / right.sum()
    print(f"of those, {kept:.3f} understood after the passage")
    other = pair.decode(codes, (speakers + 1) % 6)
    assert (other - decoded).abs().max() > 0.01
    assert right.float().mean() > 0.9
    assert kept >= 0.8
