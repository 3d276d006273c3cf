"""What is left to do: the grid minus what the database says is done, in one SQL join."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ibray.attacks import get_attack
from ibray.cell import Cell, canonical_json
from ibray.collection import no_collection
from ibray.stages import STAGES
from ibray.stages.base import Task
from ibray.store import KEYS, connect, refresh_runs
from ibray.surrogate import surrogate_cell

STAGE_COLUMNS = KEYS["stages"]


@no_collection()
def missing_tasks(database: Path, tasks: Iterable[Task], out: Path) -> list[Task]:
    """The tasks that are not done, and those whose artifact a missing task needs but which is no longer on disk."""
    by_key: dict[tuple, Task] = {task.key: task for task in tasks}
    with connect(database) as con:
        _register(con, by_key)
        missing = con.execute(
            "SELECT run_id, stage, unit, settings FROM planned "
            "ANTI JOIN (FROM stages WHERE status = 'done') USING (run_id, stage, unit, settings)"
        ).fetchall()
    missing = set(missing)
    redone = {key[:2] for key in missing}  # (run, stage): whatever these had left on disk need not be looked for
    looking = [task for key, task in by_key.items() if key in missing]
    while looking:  # what is done again may need what is gone as well
        needs = {need for task in looking for need in STAGES[task.stage].needs(task) if need[:2] not in redone}
        gone = {need[:2] for need in needs if not STAGES[need.stage].has_artifact(out, need.run_id, need.unit)}
        redone |= gone
        looking = [task for key, task in by_key.items() if key[:2] in gone and key not in missing] if gone else []
        missing |= {task.key for task in looking}
    return [task for key, task in by_key.items() if key in missing]


def enter_plan(database: Path, cells: Iterable[Cell], missing: Iterable[Task]) -> None:
    """Write the cells and the missing tasks down as queued; what an earlier sweep left unfinished is cleared."""
    cells = list(cells)
    by_key = {task.key: task for task in missing}
    with connect(database) as con:
        con.begin()
        _register(con, by_key)
        # Runs that are no longer in the grid: half done is not done, and nothing of them runs.
        unfinished = "SELECT run_id FROM stages WHERE status <> 'done'"
        con.execute(f"UPDATE runs SET status = 'queued', finished = NULL WHERE run_id IN ({unfinished})")
        con.execute("DELETE FROM stages WHERE status <> 'done'")
        con.execute("DELETE FROM stages WHERE (run_id, stage, unit, settings) IN (FROM planned)")
        con.execute("INSERT INTO stages BY NAME SELECT *, 'queued' AS status, 0 AS attempts FROM planned")
        con.execute("DELETE FROM runs WHERE run_id NOT IN (SELECT run_id FROM stages)")
        known = {run_id for (run_id,) in con.execute("SELECT run_id FROM runs").fetchall()}
        new = [run_row(cell) for cell in cells if cell.run_id not in known]
        if new:
            con.register("new_runs", pa.Table.from_pylist(new))
            con.execute("INSERT INTO runs BY NAME FROM new_runs")
        refresh_runs(con, {cell.run_id for cell in cells})
        con.commit()


def release_running(database: Path) -> None:
    """After an interruption: nothing runs any more, so nothing says it does."""
    with connect(database) as con:
        con.begin()
        con.execute("UPDATE stages SET status = 'queued' WHERE status = 'running'")
        # A half-done run counts as running for as long as the sweep does.
        con.execute("UPDATE runs SET status = 'queued' WHERE status = 'running'")
        con.commit()


def run_row(cell: Cell) -> dict[str, Any]:
    """A cell as a row of `runs`, queued."""
    return {
        "run_id": cell.run_id,
        "dataset": cell.dataset.name,
        "attack": cell.attack.name,
        "poison_ratio": cell.poison_ratio,
        "ratio_of": get_attack(cell.attack.name, **cell.attack.params).poisons,
        "target_class": cell.target_class,
        "architecture": str(cell.architecture),
        "sigma": cell.sigma,
        "seed": cell.seed,
        "attack_params": canonical_json(cell.attack.identity["params"]),
        "surrogate": surrogate.run_id if (surrogate := surrogate_cell(cell)) else None,
        "per_class": cell.dataset.per_class,
        "cell": cell.json,
        "status": "queued",
    }


def _register(con: duckdb.DuckDBPyConnection, keys: Iterable[tuple]) -> None:
    keys, types = list(keys), {"unit": pa.int32()}
    columns = {
        name: pa.array([key[position] for key in keys], types.get(name, pa.string()))
        for position, name in enumerate(STAGE_COLUMNS)
    }
    con.register("planned", pa.table(columns))
