"""The commands for tokens: files to grids of codes, and back."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pyvae.cli.runs import Run, free_path, open_run
from pyvae.cli.token_files import RECORD, Tokens, read_tokens, weights_digest
from pyvae.core.files import write_atomically
from pyvae.core.random_streams import isolated_rng
from pyvae.datasets import audio_rate, read_audio, read_picture
from pyvae.datasets.preprocessing import as_recorded
from pyvae.errors import ArgumentError, DataError

__all__ = ["decode", "encode"]

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")
_ROWS = 256

T = TypeVar("T")


def encode(run: str, source: str, label: int | None = None, output: str | None = None) -> None:
    """Turn the images or wav files of a folder into grids of integers, by the codes of a run's pair.

    Args:
        run: the run directory, of a vector-quantized VAE.
        source: the folder; its subfolders are looked through.
        label: the class of all files, for a conditional pair.
        output: a new folder for the codes as .npy, one file per level, and tokens.json, which says of which files and
            of which pair; by default tokens-1, … in run.
    """
    opened = open_run(run)
    folder, pair = _free_folder(opened, "tokens", output), _tokenizer(opened)
    shape = opened.arguments["shape"]
    paths, rate = _files(Path(source), shape, opened)
    names = [str(path.relative_to(source)) for path in paths]
    record = Tokens(_recipe(opened), weights_digest(pair), label, rate, names)
    record.check(folder, len(shape) == 2)
    grids: list[list[Tensor]] = [[] for _ in pair.code_sites]
    with isolated_rng(0):
        for some in _blocks(paths):
            x = as_recorded(_read(some, shape), opened.preprocessing)
            codes = pair.encode(x, *_labels(opened, label, len(x)))
            for grid, k in zip(grids, codes if isinstance(codes, tuple) else (codes,), strict=True):
                grid.append(k)
    folder.mkdir()
    for name, grid in zip(pair.code_sites, grids, strict=True):
        buffer = io.BytesIO()
        np.save(buffer, torch.cat(grid).cpu().numpy())
        write_atomically(folder / f"{name}.npy", buffer.getvalue())
    write_atomically(folder / RECORD, (json.dumps(asdict(record), indent=2) + "\n").encode())
    print(folder)


def decode(run: str, tokens: str, label: int | None = None, output: str | None = None) -> None:
    """Turn grids of integers back into images or wav files.

    Args:
        run: the run directory whose pair made the codes.
        tokens: the folder that encode has written.
        label: decode with this class instead of that which the files were encoded with: another voice, another class.
        output: a new folder for the .png or .wav files, named after those that were encoded; by default decoded-1, …
            in run.
    """
    opened = open_run(run)
    folder, pair = _free_folder(opened, "decoded", output), _tokenizer(opened)
    record, grids = read_tokens(Path(tokens), pair)
    if record.weights != weights_digest(pair):
        raise DataError(f"the tokens in {tokens} were made with other weights than {run} has, and mean nothing to it")
    outputs = record.check(folder, len(opened.arguments["shape"]) == 2)
    label = record.label if label is None else label
    decoded = []
    for some in _blocks(range(len(outputs))):
        y = _labels(opened, label, len(some))
        decoded.append(opened.original_units(pair.decode(*(grid[list(some)] for grid in grids), *y)))
    for path, x in zip(outputs, torch.cat(decoded), strict=True):
        _write(path, x, record.rate)
    print(folder)


def _blocks(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + _ROWS] for start in range(0, len(items), _ROWS)]


def _recipe(run: Run) -> dict[str, Any]:
    return {"name": run.recipe, "arguments": run.arguments}


def _tokenizer(run: Run) -> nn.Module:
    pair = run.load_pair()
    if not hasattr(pair, "code_sites"):
        raise ArgumentError(
            f"{run.directory} is the run of a {type(pair).__name__}, which has no codes; expected a VQVAE"
        )
    return pair


def _free_folder(run: Run, stem: str, output: str | None) -> Path:
    path = free_path(run.directory, stem, "") if output is None else Path(output)
    if path.exists():
        raise ArgumentError(f"{path} exists already and is not overwritten: give another --output")
    if not path.parent.is_dir():
        raise ArgumentError(f"cannot write {path}: {path.parent} is no folder")
    return path


def _labels(run: Run, label: int | None, count: int) -> list[Tensor]:
    classes = run.arguments.get("num_classes", 0)
    if (label is None) == bool(classes) or (label is not None and not 0 <= label < classes):
        expected = f"one of 0 to {classes - 1}" if classes else "none: the pair is unconditional"
        raise DataError(f"the label is {label}; expected {expected}")
    return [] if label is None else [torch.full((count,), label)]


def _files(source: Path, shape: list[int], run: Run) -> tuple[list[Path], int | None]:
    """The files of a folder that a pair for this shape can read, and their rate, if they are recordings."""
    kinds = {(2, 1): (".wav",), (3, 1): _IMAGES, (3, 3): _IMAGES}.get((len(shape), shape[0]), ())
    paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in kinds and p.is_file())
    if not paths:
        raise DataError(
            f"{source} has no files that make data of shape {tuple(shape)}; looked for {', '.join(kinds) or 'none'}"
        )
    if len(shape) == 3:
        return paths, None
    rate = audio_rate(paths)
    known = [r["rate"] for r in run.preprocessing if r["name"] == "recording"]
    if known and rate != known[0]:
        raise DataError(f"{source} has {rate} samples per second; expected {known[0]}, as the data of {run.directory}")
    return paths, rate


def _read(paths: Sequence[Path], shape: list[int]) -> Tensor:
    """Recordings as the datasets have them; images in [0, 1], scaled and cropped."""
    if len(shape) == 2:
        return read_audio(paths, shape[1])
    mode = "L" if shape[0] == 1 else "RGB"
    return torch.stack([read_picture(path, mode, tuple(shape[1:])) for path in paths]).float() / 255


def _write(path: Path, x: Tensor, rate: int | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if x.dim() == 2:
            import soundfile

            soundfile.write(path, x.T.clamp(-1, 1).cpu().numpy(), rate)
        else:
            from torchvision.utils import save_image

            save_image(x.clamp(0, 1), path)
    except (OSError, RuntimeError) as error:
        raise DataError(f"cannot write {path}: {error}") from error
