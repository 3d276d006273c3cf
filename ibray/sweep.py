"""A sweep from its file to a full database: check, plan, run what is missing, again until nothing is."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from ibray import __version__, store
from ibray.cell import Cell
from ibray.files import remove_leftovers, remove_tree
from ibray.inline_runner import run_inline
from ibray.lpips import NO_LPIPS
from ibray.notify import Notifier
from ibray.order import check_order, in_order
from ibray.plan import enter_plan, missing_tasks, release_running
from ibray.preflight import check_cells
from ibray.progress import Progress
from ibray.provenance import git_state, host, machine, versions
from ibray.publish import published
from ibray.retention import Retention, check_keep
from ibray.spec import SweepSpec
from ibray.stages import STAGES, most_together, plan_tasks, threads_of
from ibray.stages.base import Task
from ibray.stages.perceptual import lpips_of
from ibray.storage import check_storage, enter_storage
from ibray.workspace import DATABASE, check_output, enter_output, locked, logged


@dataclass(frozen=True)
class Options:
    """How a sweep is run; none of it changes a number.

    Attributes:
        data_dir: the dataset cache; None for IBRAY_DATA or the default.
        address: a Ray cluster; None starts Ray on this machine.
        inline: one task after another in this process, without Ray.
        fail_fast: stop at the first failure instead of going on with the other cells.
        stages: run only these and what they need; empty for all.
        order: which cells go first, one of ibray.order.ORDERS.
        notify: a shell command that is told how the sweep ended, and when it is stuck (ibray/notify.py).
        stuck_minutes: after how long without news it is.
        storage: a URI for snapshots, checkpoints and copies of the database (ibray/storage.py); None for the one that
            the output directory names already, or else the directory itself.
        keep: which snapshots stay when a run is done, one of ibray.retention.KEEP.
    """

    data_dir: Path | None = None
    address: str | None = None
    inline: bool = False
    fail_fast: bool = False
    stages: Sequence[str] = ()
    order: str = "cheap"
    notify: str | None = None
    stuck_minutes: float = 30.0
    storage: str | None = None
    keep: str = "all"


@dataclass(frozen=True)
class Outcome:
    """What came of a sweep: where the numbers are, how many tasks its grid has, were to do, and are still missing."""

    database: Path
    cells: int
    planned: int
    to_do: int
    missing: int


def run_sweep(spec: SweepSpec, out: Path, **options: Any) -> Path:
    """Run what is missing of a sweep and return the path of its database.

    The Python door to `ibray sweep`; see `Options` for the keyword arguments. A failed cell does not raise: its
    error is in `runs.error`.

    Raises:
        UserError: the sweep or the output directory is not in order; nothing was touched.
    """
    return sweep(spec, Path(out), Options(**options), Console(stderr=True)).database


def sweep(spec: SweepSpec, out: Path, options: Options, console: Console) -> Outcome:
    """Check a sweep, run what is missing of it, and say what came of it."""
    check_order(options.order)
    check_keep(options.keep)
    cells = spec.cells()
    check_output(out, spec)
    check_storage(out, options.storage, spec)
    check_cells(cells, spec.source, options.data_dir)
    tasks = plan_tasks(spec, cells, options.stages)
    database = out / DATABASE
    say = partial(console.print, markup=False, soft_wrap=True)
    notifier = Notifier(options.notify, spec.name, out, say, options.stuck_minutes)
    with locked(out), logged(out):
        enter_output(out, spec)
        artifacts = enter_storage(out, options.storage)
        store.create(database)
        with published(out):
            missing = missing_tasks(database, tasks, artifacts)
            _remove_checkpoints(artifacts, tasks, missing)
            retention = Retention(artifacts, options.keep, tasks, missing)
            if not missing:
                _remove_leftovers(out, artifacts, tasks)
                notifier.tell("done", f"nothing to do: all {len(tasks)} tasks of {len(cells)} cells are done")
                return Outcome(database, len(cells), len(tasks), 0, 0)
            enter_plan(database, cells, missing)
            if any(task.stage == "perceptual" for task in missing) and lpips_of(spec) is None:
                console.print(NO_LPIPS, soft_wrap=True)
            logging.getLogger(__name__).info("sweep %s: %d of %d tasks to run", spec.name, len(missing), len(tasks))
            with Progress(console, missing) as progress, notifier.watching(progress):
                try:
                    left = _run_until_done(spec, cells, tasks, missing, out, artifacts, options, progress, retention)
                finally:
                    release_running(database)
            _remove_checkpoints(artifacts, tasks, left)
            _remove_leftovers(out, artifacts, tasks)
            _tell_end(notifier, len(missing), len(left), progress.failures.values())
    return Outcome(database, len(cells), len(tasks), len(missing), len(left))


def _tell_end(notifier: Notifier, to_do: int, left: int, reasons: Iterable[str | None]) -> None:
    if not left:
        notifier.tell("done", f"{to_do} of {to_do} tasks done", to_do)
        return
    first = next((f"; the first: {reason.splitlines()[0]}" for reason in reasons if reason), "")
    notifier.tell("failed", f"{left} of {to_do} tasks failed{first}", to_do - left, left)


def _run_until_done(
    spec: SweepSpec,
    cells: list[Cell],
    tasks: list[Task],
    missing: list[Task],
    out: Path,
    artifacts: Path,
    options: Options,
    progress: Progress,
    retention: Retention,
) -> list[Task]:
    """Run the missing tasks; once more if the database lacks some that did not fail (its writer may have died)."""
    record = _sweep_record(spec, cells)
    left = missing
    while left:
        before = len(left)
        ordered = in_order(left, options.order, options.data_dir)
        _run(spec, ordered, out, artifacts, options, progress, retention, record)
        left = missing_tasks(out / DATABASE, tasks, artifacts)
        if len(left) >= before or all(task.key in progress.failures for task in left):
            break
    return left


def _run(
    spec: SweepSpec,
    tasks: list[Task],
    out: Path,
    artifacts: Path,
    options: Options,
    progress: Progress,
    retention: Retention,
    record: dict[str, Any],
) -> None:
    started = time.monotonic()
    if options.inline:
        sink, name = store.Store(out / DATABASE), ""
    else:
        from ibray import ray_runner  # not needed for --inline, and a second to import

        ray_runner.start_ray(options.address)
        spec = ray_runner.pack(spec, out / DATABASE)
        sink, name = ray_runner.start_store(out / DATABASE)
    sink.put({"sweeps": [record]})
    try:
        if options.inline:
            run_inline(
                tasks,
                artifacts=artifacts,
                data_dir=options.data_dir,
                store=sink,
                progress=progress,
                retention=retention,
                threads=threads_of(spec),
                most_together=most_together(spec),
                retries=spec.retries,
                fail_fast=options.fail_fast,
            )
        else:
            ray_runner.run_on_ray(
                tasks,
                spec=spec,
                out=out,
                artifacts=artifacts,
                data_dir=options.data_dir,
                store=sink,
                store_name=name,
                progress=progress,
                retention=retention,
                fail_fast=options.fail_fast,
                is_cluster=options.address is not None,
            )
    finally:
        seconds = time.monotonic() - started
        sink.put({"sweeps": [{**record, "finished": store.now(), "seconds": seconds}]})
        sink.close()


def _sweep_record(spec: SweepSpec, cells: list[Cell]) -> dict[str, Any]:
    sha, dirty = git_state()
    return {
        "sweep_id": uuid.uuid4().hex[:16],
        "name": spec.name,
        "started": store.now(),
        "cells": len(cells),
        "spec": json.dumps(spec.resolved()),
        "ibray_version": __version__,
        "git_sha": sha,
        "git_dirty": dirty,
        "versions": json.dumps(versions()),
        "host": host(),
        "machine": json.dumps(machine()),
    }


def _remove_leftovers(out: Path, artifacts: Path, tasks: Iterable[Task]) -> None:
    """Half-written files of processes that were killed; at the end, when not even these write any more."""
    for directory in [out, *(artifacts / "snapshots" / run_id for run_id in {task.cell.run_id for task in tasks})]:
        remove_leftovers(directory)


def _remove_checkpoints(artifacts: Path, tasks: Iterable[Task], unfinished: Iterable[Task]) -> None:
    """Checkpoints of runs with nothing left to train: their rows are in the database."""
    training = {task.cell.run_id for task in unfinished if STAGES[task.stage].share == "train"}
    for run_id in {task.cell.run_id for task in tasks} - training:
        remove_tree(artifacts / "checkpoints" / run_id)
