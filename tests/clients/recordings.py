"""Recordings that are drawn, not recorded: tones of two speakers."""

import numpy as np
import soundfile

RATE = 4000


def write_recordings(folder, per_speaker=10, samples=1500):
    """Wav files of tones, in a subfolder for each speaker, high and low."""
    rng = np.random.default_rng(0)
    for speaker, pitch in (("high", 700), ("low", 200)):
        (folder / speaker).mkdir(parents=True)
        for take in range(per_speaker):
            times = np.arange(samples + 20 * take) / RATE
            tone = np.sin(2 * np.pi * (pitch + rng.uniform(-50, 50)) * times) * np.exp(-3 * times)
            soundfile.write(folder / speaker / f"{take}.wav", 0.3 * tone, RATE)
