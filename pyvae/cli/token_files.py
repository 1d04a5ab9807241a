"""Grids of codes in a folder, with a record of their meaning."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from pyvae.errors import DataError

__all__ = ["RECORD", "Tokens", "read_tokens", "weights_digest"]

RECORD = "tokens.json"


@dataclass(frozen=True)
class Tokens:
    """The description of tokens besides their numbers.

    Attributes:
        recipe: that of the pair that made them.
        weights: a digest of its weights.
        label: the class with which it made them.
        rate: samples per second of recordings; None for images.
        files: the names of the files.
    """

    recipe: dict[str, Any]
    weights: str
    label: int | None
    rate: int | None
    files: list[str]

    def check(self, folder: Path, signals: bool) -> list[Path]:
        """The files in ``folder`` that the tokens are to become, of recordings or of images.

        Raises:
            DataError: if an entry is not what it should be, or two files would have one name.
        """
        numbers = (self.label, self.rate)
        plain = all(n is None or (isinstance(n, int) and not isinstance(n, bool)) for n in numbers)
        files = isinstance(self.files, list) and self.files and all(isinstance(n, str) and n for n in self.files)
        if not plain or not files or (self.rate or 0) < signals:
            raise DataError(f"{RECORD} is damaged: label {self.label!r}, rate {self.rate!r}, files {self.files!r:.100}")
        if any(Path(n).is_absolute() or ".." in Path(n).parts or "\0" in n for n in self.files):
            raise DataError(f"{RECORD} names files outside of its folder")
        suffix = ".wav" if signals else ".png"
        names = [n if n.endswith(suffix) else n + suffix for n in self.files]
        twice = sorted({n for n in names if names.count(n) > 1}) if len(set(names)) < len(names) else []
        if twice:
            raise DataError(f"two files would be decoded as {twice[0]}; rename one of them")
        return [folder / n for n in names]


def read_tokens(folder: Path, pair: nn.Module) -> tuple[Tokens, list[Tensor]]:
    """The record of a folder of tokens, and its grids of codes, int64, one tensor per level of the pair.

    Raises:
        DataError: if the folder holds something else.
    """
    try:
        record = Tokens(**json.loads((folder / RECORD).read_text()))
        arrays = [np.load(folder / f"{n}.npy", allow_pickle=False) for n in pair.code_sites]
        signed = [torch.from_numpy(a.astype(np.int64)) if a.dtype.kind in "iu" else torch.from_numpy(a) for a in arrays]
        lengths = [len(grid) for grid in signed]
        fit = lengths == [len(record.files)] * len(lengths)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, BadZipFile) as error:
        raise DataError(f"cannot read tokens from {folder}: {error}; expected a folder from pyvae encode") from error
    if not fit:
        raise DataError(f"{folder} holds {lengths} grids of {len(record.files)} files; expected one for each")
    return record, signed


def weights_digest(pair: nn.Module) -> str:
    """A hash of the weights, by which codes know the pair that can read them."""
    digest = hashlib.sha256()
    for name, tensor in sorted(pair.state_dict().items()):
        content = tensor.detach().cpu().reshape(-1)
        digest.update(name.encode() + content.view(torch.uint8).numpy().tobytes())  # numpy knows no bfloat16
    return digest.hexdigest()
