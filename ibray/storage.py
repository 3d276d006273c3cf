"""Where a sweep's snapshots and checkpoints lie: in its directory, or at a URI that all nodes of a cluster reach.

The database stays in the directory, beside its one writer; copies of it are published at the URI (publish.py), so that
another machine can go on where this one was lost.
"""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from upath import UPath

from ibray.errors import UserError
from ibray.files import write_atomic
from ibray.spec import SweepSpec
from ibray.workspace import DATABASE, owner_of

POINTER = "storage.uri"
"""The file of a sweep's directory that holds the URI."""
# Scheme -> the extra of ibray that installs what it needs.
EXTRAS = {"s3": "s3", "gs": "gcs", "gcs": "gcs"}


def is_uri(out: str | Path) -> bool:
    """Whether `--out` names an object store, or a file system by its URI, instead of a directory."""
    return "://" in str(out)


def root_of(place: str) -> Path:
    """A place as pathlib knows it: a `Path`, or for a URI that is not file:// a `UPath`, which works alike.

    Raises:
        UserError: the scheme is unknown, or what it needs is not installed.
    """
    if not is_uri(place):
        return Path(place)
    scheme, _, rest = place.partition("://")
    if scheme == "file":
        return Path(rest)
    try:
        path = UPath(place)
        _ = path.fs
    except ImportError as error:
        extra = f": pip install 'ibray[{EXTRAS[scheme]}]'" if scheme in EXTRAS else ""
        raise UserError(f"--out {place}: {error}{extra}") from None
    except ValueError as error:
        raise UserError(f"--out {place}: {error}; s3://BUCKET/PATH and gs://BUCKET/PATH are known") from None
    return path


def artifacts_of(out: Path) -> Path:
    """Where the snapshots and checkpoints of a sweep's directory lie; the directory itself unless it points on."""
    uri = _uri_of(out)
    return out if uri is None else root_of(uri)


def _uri_of(out: Path) -> str | None:
    try:
        return (out / POINTER).read_text().strip()
    except FileNotFoundError:
        return None


def check_storage(out: Path, uri: str | None, spec: SweepSpec) -> None:
    """Refuse a URI that cannot be written, that is another sweep's, or that is not this directory's; changes nothing.

    Raises:
        UserError: naming the URI, and what to do.
    """
    known = _uri_of(out)
    if uri is not None and known not in (None, uri):
        raise UserError(f"--out {uri}: the directory {out} keeps its snapshots at {known}; give that, or move {out}")
    if uri is not None and known is None and (out / "snapshots").exists():
        raise UserError(f"--out {uri}: the directory {out} has snapshots of its own; move it, or give --out {out}")
    place = uri or known
    if place is None:
        return
    root = root_of(place)
    try:
        owner = owner_of(root)
        probe = root / f".probe-{uuid.uuid4().hex}"
        root.mkdir(parents=True, exist_ok=True)
        write_atomic(probe, b"")
        probe.unlink()
    except Exception as error:  # each object store has errors of its own
        raise UserError(f"{place}: cannot be written ({type(error).__name__}: {error})") from None
    if owner not in (None, spec.name):
        raise UserError(f"--out {place}: belongs to the sweep '{owner}', not '{spec.name}'; choose another place")


def enter_storage(out: Path, uri: str | None) -> Path:
    """Note the URI in the directory, fetch the database that was published there if this machine has none.

    Returns where snapshots and checkpoints lie, as `artifacts_of` does.
    """
    if uri is not None and _uri_of(out) is None:
        published = root_of(uri) / DATABASE
        if published.exists() and not (out / DATABASE).exists():
            fetched = out / f".{DATABASE}.fetched"
            with published.open("rb") as source, fetched.open("wb") as target:
                shutil.copyfileobj(source, target)
            fetched.rename(out / DATABASE)
        write_atomic(out / POINTER, f"{uri}\n".encode())
    return artifacts_of(out)
