"""`ibray sweep --dry-run`: the cells of a grid, what of them is missing and what that will take; starts nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ibray.datasets import available
from ibray.errors import UserError
from ibray.estimate import Estimator, Time
from ibray.plan import missing_tasks
from ibray.preflight import check_cells
from ibray.spec import SweepSpec
from ibray.stages import plan_tasks
from ibray.storage import artifacts_of
from ibray.terminal import plain_table, rough, scaled
from ibray.workspace import DATABASE, check_output


def print_plan(
    spec: SweepSpec, out: Path, data_dir: Path | None, tflops: float, stages: Sequence[str], console: Console
) -> None:
    """Print one line per cell, the tasks of each stage that are missing with the time they take, and the disk.

    tflops: assumed TFLOP/s of one GPU, for what has not been measured yet. stages: as in `sweep.Options`.
    """
    if not 0 < tflops < math.inf:
        raise UserError(f"--tflops {tflops:g}: give the TFLOP/s that one GPU sustains, for example --tflops 10")
    cells = spec.cells()
    check_output(out, spec)
    check_cells(cells, spec.source, data_dir, download=False)
    tasks = plan_tasks(spec, cells, stages)
    database = out / DATABASE
    missing = missing_tasks(database, tasks, artifacts_of(out)) if database.exists() else tasks
    missing_per_run = Counter(task.cell.run_id for task in missing)
    per_run = Counter(task.cell.run_id for task in tasks)
    columns = ("run id", "dataset", "attack", "ratio", "target", "architecture", "sigma", "seed", "missing")
    table = plain_table(*columns)
    for cell in cells:
        left = f"{missing_per_run[cell.run_id]} of {per_run[cell.run_id]}"
        values = (
            cell.run_id, cell.dataset.name, cell.attack.name, f"{cell.poison_ratio:g}", cell.target_class,
            cell.architecture, f"{cell.sigma:g}", cell.seed, left,
        )  # fmt: skip
        table.add_row(*(str(value) for value in values))
    console.print(table)
    estimator = Estimator(spec, database, data_dir, tflops)
    times = []
    for stage, total in Counter(task.stage for task in tasks).items():
        to_run = [task for task in missing if task.stage == stage]
        known = estimator.times(to_run)
        console.print(f"{stage}: {len(to_run)} of {total} tasks to run{_times(known, len(to_run), tflops)}")
        times += known
    if times:
        gpu_hours, hours = sum(time.gpu_hours for time in times), sum(time.hours for time in times)
        console.print(f"in all about {rough(gpu_hours)} GPU-hours; {rough(hours)} hours of trials one after another")
    if any(time.flop for time in times):
        console.print(
            f"assumed: a GPU that sustains {tflops:g} TFLOP/s (--tflops; 10 is a guess for an A10G in bf16 or "
            "TF32); small networks and critics stay well below it"
        )
    disk = estimator.disk(cells)
    console.print(
        f"disk: about {scaled(disk.snapshot_bytes, 'B')} in {disk.snapshots} snapshots, and while they train "
        f"{scaled(disk.checkpoint_bytes, 'B')} of checkpoints per running trial"
    )
    console.print(f"{len(cells)} cells, output in {out}")
    absent = {entry.name for entry in available(data_dir) if entry.status == "downloadable"}
    for name in sorted(absent & {cell.dataset.name for cell in cells}):
        console.print(f"dataset {name}: not in the cache yet; the sweep downloads it first")


def _times(times: list[Time], tasks: int, tflops: float) -> str:
    """What follows the number of tasks of a stage: how long they take, and how that is known."""
    parts = [f"{_count(time.tasks, tasks)}{_time(time, tflops)}" for time in times]
    unknown = tasks - sum(time.tasks for time in times)
    if unknown:
        parts.append(f"{_count(unknown, tasks)}not estimated")
    return f": {'; '.join(parts)}" if parts else ""


def _count(part: int, tasks: int) -> str:
    return "" if part == tasks else f"{part} of them "


def _time(time: Time, tflops: float) -> str:
    hours = f"about {rough(time.hours)} hours of trials"
    if time.device == "cpu":
        return f"{hours}, measured on a CPU"
    source = f"measured on {time.device}" if time.device else f"{scaled(time.flop, 'FLOP')} at {tflops:g} TFLOP/s"
    return f"{hours}, {rough(time.gpu_hours)} GPU-hours, {source}"
