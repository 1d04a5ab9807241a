"""What the command line does with tokens: files to grids of codes, and back."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pyvae.checkpoint import write_atomically
from pyvae.datasets import read_audio
from pyvae.datasets.preprocessing import as_recorded
from pyvae.errors import ArgumentError, DataError
from pyvae.isolation import preserved_streams
from pyvae.runs import Run, free_path, open_run

__all__ = ["decode", "encode"]

_RECORD = "tokens.json"
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".ppm", ".pgm", ".tif", ".tiff")
_ROWS = 256


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
    paths, rate = _files(Path(source), opened.arguments["shape"])
    grids: list[list[Tensor]] = [[] for _ in pair.code_sites]
    with preserved_streams(0):
        for start in range(0, len(paths), _ROWS):
            some = paths[start : start + _ROWS]
            x = as_recorded(_read(some, opened.arguments["shape"]), opened.preprocessing)
            codes = pair.encode(x, *_labels(opened, label, len(x)))
            for grid, k in zip(grids, codes if isinstance(codes, tuple) else (codes,), strict=True):
                grid.append(k)
    record = {
        "recipe": {"name": opened.recipe, "arguments": opened.arguments},
        "weights": _fingerprint(pair),
        "label": label,
        "rate": rate,
        "files": [str(path.relative_to(source)) for path in paths],
    }
    folder.mkdir(parents=True)
    for name, grid in zip(pair.code_sites, grids, strict=True):
        buffer = io.BytesIO()
        np.save(buffer, torch.cat(grid).cpu().numpy())
        write_atomically(folder / f"{name}.npy", buffer.getvalue())
    write_atomically(folder / _RECORD, (json.dumps(record, indent=2) + "\n").encode())
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
    folder, pair, place = _free_folder(opened, "decoded", output), _tokenizer(opened), Path(tokens)
    try:
        record = json.loads((place / _RECORD).read_text())
        grids = [torch.from_numpy(np.load(place / f"{n}.npy", allow_pickle=False)) for n in pair.code_sites]
        names, weights, rate = record["files"], record["weights"], record["rate"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read tokens from {tokens}: {error}; expected a folder from pyvae encode") from error
    if weights != _fingerprint(pair):
        raise DataError(
            f"the tokens in {tokens} were made by other weights than those of {run}, and mean nothing to it"
        )
    if any(len(grid) != len(names) for grid in grids):
        raise DataError(f"{tokens} holds {[len(g) for g in grids]} grids of {len(names)} files; expected one for each")
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
        raise DataError(f"{place / _RECORD} names files outside of its folder")
    label = record["label"] if label is None else label
    for start in range(0, len(names), _ROWS):
        some = slice(start, start + _ROWS)
        y = _labels(opened, label, len(names[some]))
        x = opened.original_units(pair.decode(*(g[some] for g in grids), *y))
        for name, datum in zip(names[some], x, strict=True):
            _write(folder, name, datum, rate)
    print(folder)


def _tokenizer(run: Run) -> nn.Module:
    pair = run.load_pair()
    if not hasattr(pair, "code_sites"):
        raise ArgumentError(
            f"the pair of {run.directory} is a {type(pair).__name__}, which has no codes; expected a VQVAE"
        )
    return pair


def _free_folder(run: Run, stem: str, output: str | None) -> Path:
    path = free_path(run.directory, stem, "") if output is None else Path(output)
    if path.exists():
        raise ArgumentError(f"{path} exists already and is not overwritten: give another --output")
    return path


def _labels(run: Run, label: int | None, count: int) -> list[Tensor]:
    classes = run.arguments.get("num_classes", 0)
    if (label is None) == bool(classes) or (label is not None and not 0 <= label < classes):
        expected = f"one of 0 to {classes - 1}" if classes else "none: the pair is unconditional"
        raise DataError(f"the label is {label}; expected {expected}")
    return [] if label is None else [torch.full((count,), label)]


def _files(source: Path, shape: list[int]) -> tuple[list[Path], int | None]:
    """The files of a folder that a pair for this shape can read, and their rate, if they are recordings."""
    kinds = (".wav",) if len(shape) == 2 else _IMAGES
    paths = sorted(p for p in source.rglob("*") if p.suffix.lower() in kinds)
    if not paths or len(shape) not in (2, 3):
        raise DataError(f"{source} has no files that make data of shape {tuple(shape)}; looked for {', '.join(kinds)}")
    if len(shape) == 3:
        return paths, None
    import soundfile

    return paths, soundfile.info(paths[0]).samplerate


def _read(paths: list[Path], shape: list[int]) -> Tensor:
    """Recordings as the datasets have them; images in [0, 1], resized and cropped."""
    if len(shape) == 2:
        return read_audio(paths, shape[1])
    from PIL import Image, UnidentifiedImageError
    from torchvision.transforms import v2

    steps = [
        v2.Resize(max(shape[1:])),
        v2.CenterCrop(shape[1:]),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
    ]
    try:
        return torch.stack([v2.Compose(steps)(Image.open(p).convert("L" if shape[0] == 1 else "RGB")) for p in paths])
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"cannot read images: {error}") from error


def _write(folder: Path, name: str, x: Tensor, rate: int | None) -> None:
    suffix = ".wav" if x.dim() == 2 else ".png"
    path = folder / (name if name.endswith(suffix) else name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    if x.dim() == 2:
        import soundfile

        soundfile.write(path, x.T.clamp(-1, 1).cpu().numpy(), rate)
    else:
        from torchvision.utils import save_image

        save_image(x.clamp(0, 1), path)


def _fingerprint(pair: nn.Module) -> str:
    """A hash of the weights, by which codes know the pair that can read them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(pair.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
