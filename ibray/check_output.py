"""The output directory: whether a sweep may write there, and whether there is room for what it leaves."""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

from analysis.db import read
from ibray.check import Check
from ibray.errors import UserError
from ibray.estimate import Estimator
from ibray.provenance import machine
from ibray.spec import SweepSpec
from ibray.storage import artifacts_of
from ibray.terminal import scaled
from ibray.workspace import DATABASE, check_output, is_locked

LITTLE_DISK = 5e9  # bytes, of which nobody knows what for
ROOM_TO_SPARE = 1.5
NEWEST_ROW = "SELECT max(greatest(coalesce(started, finished), coalesce(finished, started))) FROM stages"


def check_writable(out: Path, spec: SweepSpec | None) -> Check:
    """Whether the directory can be written, and is this sweep's or nobody's."""
    try:
        if spec:
            check_output(out, spec)
        else:
            nearest = nearest_existing(out)
            if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
                raise UserError(f"--out {out}: {nearest} cannot be written; choose another directory")
    except UserError as error:
        found, _, advice = str(error).partition("; ")
        return Check("output", "failed", found, advice)
    running = ", a sweep is running in it" if is_locked(out) else ""
    return Check("output", "ok", f"{out.resolve()}{'' if out.exists() else ' (new)'} can be written{running}")


def check_disk(out: Path, spec: SweepSpec | None, data_dir: Path | None) -> Check:
    """Free bytes, against what the snapshots and checkpoints still to come take."""
    free = shutil.disk_usage(nearest_existing(out)).free
    if spec is None:
        if free < LITTLE_DISK:
            return Check("disk", "warning", f"{scaled(free, 'B')} free", "name a sweep FILE to see what it needs")
        return Check("disk", "ok", f"{scaled(free, 'B')} free")
    disk = Estimator(spec, out / DATABASE, data_dir, tflops=1).disk(spec.cells())
    if artifacts_of(out) != out:
        return Check("disk", "ok", f"{scaled(free, 'B')} free for the database; snapshots go to {artifacts_of(out)}")
    there = sum(path.stat().st_size for path in (out / "snapshots").rglob("*") if path.is_file())
    at_once = max(1, int(machine()["cores"] / spec.resources.train.cpu))
    needed = max(0, disk.snapshot_bytes - there) + at_once * disk.checkpoint_bytes
    found = f"{scaled(free, 'B')} free; {spec.name} still takes about {scaled(needed, 'B')}"
    if free < needed:
        return Check("disk", "failed", found, "choose another --out, or fewer training.snapshots")
    if free < ROOM_TO_SPARE * needed:
        return Check("disk", "warning", found, "that is little to spare")
    return Check("disk", "ok", found)


def newest_row(out: Path) -> datetime | None:
    """The last time in the database, None where there is none yet.

    Raises:
        AnalysisError: the database cannot be read.
    """
    if not (out / DATABASE).exists():
        return None
    with read(out) as con:
        ((newest,),) = con.execute(NEWEST_ROW).fetchall()
    return newest


def nearest_existing(out: Path) -> Path:
    """The directory, or the nearest one above it that exists."""
    return next(path for path in [out, *out.absolute().parents] if path.exists())
