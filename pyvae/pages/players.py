"""Recordings that a page plays."""

import base64
import io
import wave
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from pyvae.pages.page import render

__all__ = ["players"]


def players(recordings: Mapping[str, Tensor], rate: int) -> str:
    """A player for each recording, a row for each name.

    Args:
        recordings: signals (N, 1, samples) by name; what lies beyond [−1, 1] is cut.
        rate: samples per second.
    """
    rows = {name: [_wav(signal, rate) for signal in x[:, 0]] for name, x in recordings.items()}
    return render("players", rows=rows)


def _wav(signal: Tensor, rate: int) -> str:
    """A WAV file of 16 bits, in base64."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((signal.detach().cpu().clamp(-1, 1).numpy() * 32767).astype(np.int16).tobytes())
    return base64.b64encode(buffer.getvalue()).decode()
