"""`ibray sweep --dry-run`: the cells of a grid and what of them is missing, without starting or writing anything."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console

from ibray.datasets import available
from ibray.plan import missing_tasks
from ibray.preflight import check_cells
from ibray.spec import SweepSpec
from ibray.stages import plan_tasks
from ibray.terminal import plain_table
from ibray.workspace import DATABASE, check_output


def print_plan(spec: SweepSpec, out: Path, data_dir: Path | None, console: Console) -> None:
    """Print one line per cell and the number of tasks of each stage, done and missing."""
    cells = spec.cells()
    check_output(out, spec)
    absent = {entry.name for entry in available(data_dir) if entry.status == "downloadable"}
    check_cells((cell for cell in cells if cell.dataset.name not in absent), spec.source, data_dir)
    tasks = plan_tasks(spec, cells)
    database = out / DATABASE
    missing = missing_tasks(database, tasks, out) if database.exists() else tasks
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
    for stage, total in Counter(task.stage for task in tasks).items():
        left = sum(task.stage == stage for task in missing)
        console.print(f"{stage}: {left} of {total} tasks to run")
    console.print(f"{len(cells)} cells, output in {out}")
    for name in sorted(absent & {cell.dataset.name for cell in cells}):
        console.print(f"dataset {name}: not in the cache yet; the sweep downloads it first")
