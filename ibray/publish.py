"""Copies of a sweep's database at the URI where its snapshots lie, while it runs and when it ends."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from analysis.db import copy_database
from ibray.errors import UserError
from ibray.files import write_atomic
from ibray.storage import artifacts_of
from ibray.store import WRITER_PATIENCE
from ibray.workspace import DATABASE, SPEC

PUBLISH_SECONDS = 60.0


@contextmanager
def published(out: Path, interval: float = PUBLISH_SECONDS) -> Iterator[None]:
    """Publish every `interval` seconds, and once more at the end, however it ends; nothing where there is no URI.

    A copy that fails on the way is tried again with the next.

    Raises:
        UserError: the last copy could not be made. All rows are in the directory's database.
    """
    root = artifacts_of(out)
    if root == out:
        yield
        return
    ended = threading.Event()
    publisher = threading.Thread(target=_keep_publishing, args=(out, root, interval, ended), daemon=True)
    publisher.start()
    try:
        yield
    finally:
        ended.set()
        publisher.join()
        try:
            publish(out, root)
        except Exception as error:  # each object store has errors of its own
            raise UserError(
                f"{root}: could not be given a copy of the database ({type(error).__name__}: {error}); all rows are in "
                f"{out / DATABASE}, and the same command tries again"
            ) from error


def _keep_publishing(out: Path, root: Path, interval: float, ended: threading.Event) -> None:
    while not ended.wait(interval):
        try:
            publish(out, root)
        except Exception as error:
            logging.getLogger(__name__).warning("%s: no copy of the database this time: %s", root, error)


def publish(out: Path, root: Path) -> None:
    """Copy a directory's database and sweep.yaml to `root`, each whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=".publish-", dir=out) as scratch:
        copy = Path(scratch) / DATABASE
        copy_database(out / DATABASE, copy, WRITER_PATIENCE)
        duckdb.connect(copy).close()  # a killed writer's log becomes part of the one file
        _put(copy, root / DATABASE)
    write_atomic(root / SPEC, (out / SPEC).read_bytes())


def _put(source: Path, target: Path) -> None:
    """Copy a file, however large."""
    if isinstance(target, Path):
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(source, beside)
        beside.rename(target)
    else:
        target.fs.put_file(str(source), target.path)
