"""Recordings in wav files."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from pyvae.core.arguments import check_int
from pyvae.datasets.data import DataSplits, InMemory
from pyvae.errors import ArgumentError, DataError

__all__ = ["audio_folder", "audio_rate", "read_audio", "spoken_digits", "wav_files"]

_LENGTH = 6144
_SOURCE = "https://github.com/Jakobovski/free-spoken-digit-dataset"


def spoken_digits(root: str = "data", download: bool = False) -> DataSplits:
    """The Free Spoken Digit Dataset: 3,000 recordings at 8 kHz, 1×6144, by speaker; takes 0 to 4 are the test data.

    Each is prepared as by :func:`audio_folder`. The labels are the speakers, in alphabetical order. (Zohar Jackson and
    contributors, CC BY-SA 4.0.)

    Args:
        root: the directory that holds ``fsdd/recordings``.
        download: has no effect; clone the repository.

    Raises:
        DataError: if the files are not there.
    """
    folder = Path(root) / "fsdd" / "recordings"
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}: clone {_SOURCE}, and give its place with --data-root (root=)")

    def parts(path: Path) -> tuple[str, ...]:
        found = re.fullmatch(r"\d_([a-z]+)_(\d+)", path.stem)
        if not found:
            raise DataError(f"{path} is none of the recordings; expected names such as 7_george_12.wav")
        return found.groups()

    return audio_folder(str(folder), label=lambda path: parts(path)[0], test=lambda path: int(parts(path)[1]) < 5)


def audio_folder(
    root: str,
    length: int = _LENGTH,
    label: Callable[[Path], str] | None = None,
    test: Callable[[Path], bool] | None = None,
) -> DataSplits:
    """The wav files of a folder, in all its subfolders, as one channel of floats in memory: 1×length.

    Each is scaled to a peak of 1, filled up with silence at the end, or cut there; channels are averaged.

    Args:
        root: the folder.
        length: the number of samples.
        label: the class of a file by its path; by default its subfolder, if there are any.
        test: which files are test data; by default every tenth of each class.

    Raises:
        DataError: if there are no wav files, one of them cannot be read, or their rates differ.
        ArgumentError: if ``length`` is not positive, or soundfile is not installed.
    """
    paths = sorted(wav_files(root))
    if not paths:
        raise DataError(f"there are no wav files in {root!r}")
    rate, x = audio_rate(paths), read_audio(paths, length)
    parts = [path.relative_to(root).parts for path in paths]
    names = [label(p) if label else (q[0] if len(q) > 1 else "") for p, q in zip(paths, parts, strict=True)]
    classes = sorted(set(names))
    y = torch.tensor([classes.index(name) for name in names])
    if test is None:
        held = torch.tensor([names[:i].count(name) % 10 == 9 for i, name in enumerate(names)])
    else:
        held = torch.tensor([bool(test(path)) for path in paths])
    if held.all() or not held.any():
        raise DataError(f"{root!r} gives {int((~held).sum())} training and {int(held.sum())} test files; expected both")
    record = ({"name": "recording", "rate": rate},)
    labels = [y] if len(classes) > 1 else []
    train, held_out = (InMemory(*(t[rows] for t in (x, *labels))) for rows in (~held, held))
    known = tuple(classes) if labels else ()
    return DataSplits(
        root, train, held_out, num_classes=len(known), levels=None, preprocessing=record, class_names=known
    )


def wav_files(root: str | Path) -> Iterator[Path]:
    """The wav files of a folder and its subfolders, one after the other as they are found."""
    return (p for p in Path(root).rglob("*") if p.suffix.lower() == ".wav" and p.is_file())


def audio_rate(paths: Sequence[Path]) -> int:
    """The number of samples per second of wav files.

    Raises:
        DataError: if one of them cannot be read, or their rates differ.
        ArgumentError: if soundfile is not installed.
    """
    soundfile, rates = _soundfile(), {}
    for path in paths:
        try:
            rates.setdefault(soundfile.info(path).samplerate, path)
        except (OSError, RuntimeError) as error:  # soundfile's own errors are RuntimeErrors
            raise DataError(f"cannot read {path}: {error}") from error
    if len(rates) != 1:
        raise DataError(f"the files have different rates: {', '.join(f'{r} Hz ({p})' for r, p in rates.items())}")
    return next(iter(rates))


def read_audio(paths: Sequence[Path], length: int) -> Tensor:
    """Wav files as (N, 1, length) floats, each with a peak of 1.

    Raises:
        DataError: if one of them cannot be read, or holds NaN or infinity.
        ArgumentError: if ``length`` is not positive, or soundfile is not installed.
    """
    check_int("length", length)
    soundfile, rows = _soundfile(), torch.zeros(len(paths), 1, length)
    for row, path in zip(rows, paths, strict=True):
        try:
            samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:
            raise DataError(f"cannot read {path}: {error}") from error
        mono = samples.mean(1)[:length]
        peak = float(np.abs(mono).max(initial=0.0))
        if not np.isfinite(peak):
            raise DataError(f"{path} holds NaN or infinity")
        row[0, : len(mono)] = torch.from_numpy(mono) / (peak or 1.0)
    return rows


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except ImportError as error:
        raise ArgumentError("soundfile is not installed; pip install 'pyro-vae[audio]'") from error
    return soundfile
