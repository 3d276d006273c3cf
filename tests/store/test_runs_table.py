"""The rows of `runs` that a plan writes: every axis is a column, and the status says only what is so."""

from __future__ import annotations

import duckdb
import pytest
from torch import nn

from ibray import store
from ibray.plan import enter_plan, missing_tasks
from ibray.snapshots import Snapshots
from ibray.stages import plan_tasks
from ibray.store import Store


@pytest.fixture
def plan(tmp_path):
    """Write down what is missing of a spec; returns the tasks."""
    database = tmp_path / "results.duckdb"
    store.create(database)

    def enter(spec):
        missing = missing_tasks(database, plan_tasks(spec, spec.cells()), tmp_path)
        enter_plan(database, spec.cells(), missing)
        return missing

    return enter


def query(out, sql: str) -> list[tuple]:
    with duckdb.connect(str(out / "results.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_every_axis_is_a_column(plan, tiny, tmp_path):
    spec = tiny(attack={"name": "badnets", "poison_ratio": 0.2}, sigma=0.3, seed=5, target_class=2)
    plan(spec)
    columns = "run_id, dataset, attack, poison_ratio, ratio_of, target_class, architecture, sigma, seed, per_class"
    assert query(tmp_path, f"SELECT {columns} FROM runs") == [
        (spec.cells()[0].run_id, "digits16", "badnets", 0.2, "train_set", 2, "resnet10_8(width=4)", 0.3, 5, 20)
    ]


def test_a_half_done_run_outside_a_shrunk_grid_is_not_called_done(plan, tiny, tmp_path):
    trainings = [task for task in plan(tiny()) if task.stage == "train"]
    writer = Store(tmp_path / "results.duckdb", interval=3600)
    for task in trainings:
        for epoch in task.settings["snapshots"]:
            Snapshots(tmp_path, task.cell.run_id).save(epoch, nn.Linear(1, 1))
        writer.begin(task.key)
        writer.finish(task.key, {})
    writer.close()
    plan(tiny(attack="none"))
    assert query(tmp_path, "SELECT status FROM runs WHERE attack = 'badnets'") != [("done",)]
