"""Datasets on disk: one directory each, written once by an atomic rename, verified once per process.

``<data_dir>/<name>/`` holds train_x.npy, train_y.npy, test_x.npy, test_y.npy and manifest.json (format
version, name, origin, source, class names, and shape, bytes and SHA-256 of every file).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ibray.datasets.base import ImageSet, Origin, RawData
from ibray.errors import UserError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
ARRAYS = ("train_x", "train_y", "test_x", "test_y")

# Directory -> what its files looked like when their hashes were last checked by this process.
_verified: dict[Path, tuple] = {}


def resolve_data_dir(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The absolute cache directory: the argument, else the variable IBRAY_DATA, else ~/.cache/ibray/data."""
    chosen = data_dir or os.environ.get("IBRAY_DATA") or "~/.cache/ibray/data"
    return Path(chosen).expanduser().resolve()


def check_name(name: str) -> None:
    """Refuses a dataset name that is not [a-z0-9_-]+, so that a name is never a path."""
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9_-]+", name):
        raise UserError(
            f"dataset name {name!r} is not allowed: a name has only the characters a-z, 0-9, '_' and '-' (a "
            f"file is "
            f"brought in with: ibray data import NAME FILE.npz)"
        )


def build(
    directory: Path, *, name: str, origin: Origin, load: Callable[[Path], RawData], replace: bool = False
) -> None:
    """Writes the dataset that ``load`` returns to ``directory``, all or nothing.

    It is written beside and renamed, so a reader never sees half of it and of two processes building at once
    both succeed (the second finds the place taken and drops its copy). ``replace`` swaps an existing
    directory out first; a reader that comes between the two renames finds nothing.
    """
    # Not tempfile.mkdtemp: its mode 0700 would survive the rename and hide a shared cache from other users.
    temporary = directory.parent / f".{name}.{uuid.uuid4().hex[:12]}.tmp"
    try:
        try:
            downloads = temporary / "downloads"
            downloads.mkdir(parents=True)
            raw = load(downloads)
            shutil.rmtree(downloads)
            _write(temporary, name=name, origin=origin, raw=raw)
            if replace and directory.exists():
                old = temporary.with_suffix(".old")
                directory.rename(old)
                temporary.rename(directory)
                shutil.rmtree(old, ignore_errors=True)
            else:
                temporary.rename(directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if directory.is_dir() and not replace:
            return  # another process was faster; opening verifies what it left
        raise UserError(
            f"cannot write dataset '{name}' to {directory}: {error}. Choose another place with the "
            f"environment variable IBRAY_DATA"
        ) from error


def _write(directory: Path, *, name: str, origin: Origin, raw: RawData) -> None:
    files = {}
    for key in ARRAYS:
        path = directory / f"{key}.npy"
        array = np.ascontiguousarray(getattr(raw, key), dtype=np.uint8 if key.endswith("_x") else np.int64)
        np.save(path, array)
        files[path.name] = {
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "bytes": path.stat().st_size,
            "sha256": _sha256(path),
        }
    manifest = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "origin": origin,
        "source": raw.source,
        "class_names": list(raw.class_names),
        "files": files,
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of one dataset; raises UserError naming the file when missing, broken or another's."""
    path = directory / MANIFEST
    name = directory.name
    try:
        manifest = json.loads(path.read_text())
        if manifest["format_version"] != FORMAT_VERSION:
            raise _damaged(
                path, f"format version {manifest['format_version']}, this ibray reads {FORMAT_VERSION}"
            )
        if manifest["name"] != name:
            raise _damaged(path, f"it describes dataset '{manifest['name']}', not '{name}'")
        manifest["origin"], manifest["source"], manifest["class_names"]
        for key in ARRAYS:
            entry = manifest["files"][f"{key}.npy"]
            entry["shape"], entry["dtype"], entry["bytes"], entry["sha256"]
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"is not a dataset manifest ({type(error).__name__}: {error})") from error
    return manifest


def open_set(directory: Path) -> ImageSet:
    """The dataset in ``directory`` as memory maps, after checking sizes and, once per process, hashes.

    Raises UserError naming the file that is missing, truncated, corrupt or of another dataset.
    """
    manifest = read_manifest(directory)
    stamps = []
    for file, entry in manifest["files"].items():
        path = directory / file
        try:
            found = path.stat()
        except OSError as error:
            raise _damaged(path, f"cannot be read ({error.strerror})", manifest) from error
        if found.st_size != entry["bytes"]:
            raise _damaged(path, f"has {found.st_size:,} bytes instead of {entry['bytes']:,}", manifest)
        stamps.append((file, entry["sha256"], found.st_ino, found.st_size, found.st_mtime_ns))
    stamp = tuple(stamps)
    if _verified.get(directory) != stamp:
        for file, entry in manifest["files"].items():
            try:
                actual = _sha256(directory / file)
            except OSError as error:
                raise _damaged(directory / file, f"cannot be read ({error.strerror})", manifest) from error
            if actual != entry["sha256"]:
                raise _damaged(directory / file, "its SHA-256 is not the one in the manifest", manifest)
        _verified[directory] = stamp

    arrays = {}
    for key in ARRAYS:
        file = f"{key}.npy"
        try:
            array = np.load(directory / file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise _damaged(directory / file, f"is not a NumPy array ({error})", manifest) from error
        entry = manifest["files"][file]
        if list(array.shape) != entry["shape"] or str(array.dtype) != entry["dtype"]:
            raise _damaged(
                directory / file, f"holds {array.dtype}{list(array.shape)}, not what it should", manifest
            )
        arrays[key] = array
    digests = "".join(f"{file} {entry['sha256']}\n" for file, entry in sorted(manifest["files"].items()))
    return ImageSet(
        name=manifest["name"],
        **arrays,
        class_names=tuple(manifest["class_names"]),
        checksum=hashlib.sha256(digests.encode()).hexdigest(),
    )


def _damaged(path: Path, problem: str, manifest: dict[str, Any] | None = None) -> UserError:
    name = path.parent.name
    again = (
        f"import it again: ibray data import {name} FILE.npz"
        if manifest and manifest["origin"] == "import"
        else f"load it again (an imported one: ibray data import {name} FILE.npz)"
    )
    return UserError(
        f"dataset '{name}' is damaged: {path}: {problem}. Delete the directory {path.parent} and {again}"
    )
