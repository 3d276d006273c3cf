"""Files that are whole or absent: written beside their place, then renamed; tensors carry a manifest with a hash.

Paths may lie in an object store (`upath.UPath`), where an object appears when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save


class CorruptFileError(Exception):
    """A file whose bytes are not the ones its manifest promises; the message names it."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that there is the old file or the new one, whatever dies half-way, and never a part."""
    if not isinstance(path, Path):
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=1) + "\n").encode())


def _manifest(path: Path) -> Path:
    return path.with_suffix(".json")


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
    """Write tensors as safetensors, then a manifest (same name, .json) with size, SHA-256 and `about`.

    The manifest comes last: where it exists, the tensors are complete.
    """
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    write_atomic(path, data)
    write_json(_manifest(path), {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), **about})


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and manifest of `save_tensors`.

    Raises:
        CorruptFileError: either file is missing or their contents do not match.
    """
    try:
        manifest = json.loads(_manifest(path).read_bytes())
        size, digest = manifest["bytes"], manifest["sha256"]
        data = path.read_bytes()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(f"{path}: {error}") from error
    if len(data) != size or hashlib.sha256(data).hexdigest() != digest:
        raise CorruptFileError(f"{path}: its contents do not match the SHA-256 in {_manifest(path).name}")
    return load(data), manifest


def is_complete(path: Path) -> bool:
    """Whether `save_tensors` finished for this path (sizes agree; the hash is checked on loading)."""
    try:
        return path.stat().st_size == json.loads(_manifest(path).read_bytes())["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def set_aside(path: Path) -> None:
    """Give a corrupt file another name: nobody takes it for a good one, and whoever looks into it finds it."""
    # Another process of the same run, which is about to be killed, may have removed it in the meantime.
    with suppress(FileNotFoundError):
        path.rename(path.with_suffix(".corrupt"))


def remove_leftovers(directory: Path) -> None:
    """Remove what `write_atomic` left in a directory when its process was killed; nobody may be writing there."""
    if not isinstance(directory, Path):
        return
    for path in directory.glob(".*.????????"):  # as mkstemp ends a name
        path.unlink()


def remove_tree(directory: Path) -> None:
    """Remove a directory with all that is in it, if it is there."""
    if isinstance(directory, Path):
        shutil.rmtree(directory, ignore_errors=True)
    elif directory.exists():
        directory.rmdir(recursive=True)


def remove_tensors(path: Path) -> None:
    """Remove a tensor file and its manifest, the manifest first so that no incomplete pair looks complete."""
    _manifest(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
