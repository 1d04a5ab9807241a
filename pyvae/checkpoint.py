"""Weights and training state on disk: safetensors with a JSON header, written atomically, never pickle."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pyvae.core.arguments import check_module
from pyvae.core.files import as_path, write_atomically
from pyvae.errors import CheckpointError

__all__ = ["FORMAT", "read_tensors", "restore", "save", "write_tensors"]

FORMAT = 1
_HEADER = "pyvae"


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the header and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header as one safetensors file.

    Raises:
        CheckpointError: if one of ``tensors`` is none, the header is not JSON, or the file cannot be written.
    """
    path = as_path(path)
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):  # a module's extra state may be anything
            raise CheckpointError(f"cannot write {path}: {name!r} is a {type(tensor).__name__}; expected a tensor")
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        text = json.dumps({"format": FORMAT, "pyvae": version("pyro-vae"), **header})
        # one entry: safetensors orders several at random, and equal states are to give equal files
        content = safetensors.torch.save(plain, {_HEADER: f"{_digest(text, plain)} {text}"})
    except (TypeError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
    write_atomically(path, content)


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a file of :func:`write_tensors`.

    Raises:
        CheckpointError: if there is no such file, or it is truncated, foreign, changed, or of another format.
    """
    path = as_path(path)
    if not path.is_file():
        hint = ", such as the model.safetensors of a run" if path.is_dir() else ""
        raise CheckpointError(f"{path} is no file; expected one that pyvae wrote{hint}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no readable safetensors file (truncated or foreign): {error}") from error
    if _HEADER not in metadata:
        raise CheckpointError(f"{path} is a safetensors file, but pyvae did not write it: its header is missing")
    digest, _, text = metadata[_HEADER].partition(" ")
    header = _parse(text, path)
    if digest != _digest(text, tensors):
        raise CheckpointError(f"{path} was changed after it was written: its checksum does not match its content")
    return tensors, header


def _parse(text: str, path: Path) -> dict[str, Any]:
    """The header, if it is one."""
    try:
        header = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{path}: the header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: the header is a {type(header).__name__}; expected an object")
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has format {header.get('format')}, written by pyvae {header.get('pyvae')}; this is pyvae "
            f"{version('pyro-vae')}, which reads format {FORMAT}"
        )
    if header.get("kind") not in ("pair", "checkpoint"):
        raise CheckpointError(f"{path}: the header has the kind {header.get('kind')!r}; expected pair or checkpoint")
    return header


def save(path: str | Path, pair: nn.Module) -> None:
    """Save a pair's parameters and buffers; if a recipe made the pair, its name and arguments too.

    Args:
        path: the file; it is replaced in one step if it exists.
        pair: any module.

    Raises:
        CheckpointError: if the file cannot be written; what was there stands.

    Example:
        >>> import tempfile, pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> path = Path(tempfile.mkdtemp()) / "vae.safetensors"
        >>> save(path, vae)
        >>> type(pyvae.load(path)).__name__
        'VAE'
    """
    check_module("pair", pair)
    write_tensors(path, pair.state_dict(), {"kind": "pair", "recipe": getattr(pair, "recipe", None)})


def restore(path: str | Path, pair: nn.Module) -> None:
    """Load the parameters and buffers of a file of :func:`save`, or the best ones of a checkpoint, into a pair.

    Raises:
        CheckpointError: if the file is unreadable, or its tensors are not those of ``pair``.
    """
    check_module("pair", pair)
    tensors, header = read_tensors(path)
    if header["kind"] == "checkpoint":
        prefix = "best/" if any(name.startswith("best/") for name in tensors) else "model/"
        tensors = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    load_state(pair, tensors, str(path))


def load_state(pair: nn.Module, tensors: Mapping[str, Tensor], origin: str) -> None:
    """``pair.load_state_dict``, with an error that names the first difference.

    A module with a method ``renew_state(tensors, prefix)`` rewrites in place what an older pyvae has written for it.

    Raises:
        CheckpointError: if names, shapes or dtypes differ.
    """
    own, tensors = pair.state_dict(), dict(tensors)
    for name, module in pair.named_modules():
        if hasattr(module, "renew_state"):
            module.renew_state(tensors, f"{name}." if name else "")
    for name in sorted(own.keys() | tensors.keys()):
        if name not in own or name not in tensors:
            where = "the pair" if name not in own else origin
            raise CheckpointError(f"{origin} does not belong to this pair: {where} has no tensor {name!r}")
        if (own[name].shape, own[name].dtype) != (tensors[name].shape, tensors[name].dtype):
            raise CheckpointError(
                f"{origin} does not belong to this pair: {name!r} has shape {tuple(tensors[name].shape)} "
                f"({tensors[name].dtype}) in the file, {tuple(own[name].shape)} ({own[name].dtype}) in the pair"
            )
    pair.load_state_dict(tensors)
