"""Planning a grid of 100,000 cells against a database in which half of them are done.

    python benchmarks/planning.py [--cells 100000] [--snapshots 1]

Printed: seconds from the checked sweep file to the list of what is missing, by step; then of writing that list down;
peak memory of the process, and what it was before the first step (PyTorch and its like).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import duckdb

from ibray import store
from ibray.cell import Cell
from ibray.plan import enter_plan, missing_tasks
from ibray.spec import SweepSpec, parse_spec
from ibray.stages import plan_tasks

T = TypeVar("T")
FILL = """
UPDATE stages SET status = 'done' WHERE run_id IN (SELECT run_id FROM runs WHERE seed % 2 = 0);
UPDATE runs SET status = 'done' WHERE seed % 2 = 0;
"""


def grid(cells: int, snapshots: int) -> SweepSpec:
    """Five attacks, two sigmas, and as many seeds as it takes."""
    epochs = [round(120 * (each + 1) / snapshots) for each in range(snapshots)]
    attacks = ["none", "badnets", "blend", "wanet", "ftrojan"]
    axes = {"attack": attacks, "sigma": [0.2, 0.4], "seed": list(range(cells // 10))}
    return parse_spec({"name": "large", "dataset": "cifar10", "training": {"snapshots": epochs}, **axes}, "large")


def timed(step: str, work: Callable[[], T]) -> T:
    started = time.perf_counter()
    result = work()
    print(f"{step:40} {time.perf_counter() - started:6.2f} s")
    return result


def memory() -> float:
    """Peak of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def half_full(database: Path, spec: SweepSpec, out: Path) -> None:
    """Run in a process of its own, whose memory does not count."""
    store.create(database)
    cells = spec.cells()
    enter_plan(database, cells, missing_tasks(database, plan_tasks(spec, cells), out))
    with duckdb.connect(str(database)) as con:
        con.execute(FILL)


def plan(spec: SweepSpec, database: Path, out: Path) -> None:
    print(f"{'before':40} {memory():6.0f} MiB")
    started = time.perf_counter()
    cells: list[Cell] = timed("cells and their run ids", spec.cells)
    tasks = timed("tasks", lambda: plan_tasks(spec, cells))
    missing = timed("what is missing", lambda: missing_tasks(database, tasks, out))
    total = time.perf_counter() - started
    print(f"{len(cells):,} cells, {len(missing):,} of {len(tasks):,} tasks missing: {total:.2f} s, {memory():.0f} MiB")
    timed("the list written down", lambda: enter_plan(database, cells, missing))
    print(f"{'peak memory':40} {memory():6.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--snapshots", type=int, default=1)
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    spec = grid(arguments.cells, arguments.snapshots)
    if arguments.fill:
        half_full(arguments.fill / "results.duckdb", spec, arguments.fill)
        return
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, *sys.argv, "--fill", scratch], check=True)
        plan(spec, Path(scratch) / "results.duckdb", Path(scratch))


if __name__ == "__main__":
    main()
