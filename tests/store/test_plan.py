"""What a sweep still has to do, asked of real databases: the grid minus what is done, and what that needs on disk."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import duckdb
import pytest
from torch import nn

from ibray import store
from ibray.plan import enter_plan, missing_tasks, release_running
from ibray.snapshots import Snapshots
from ibray.spec import SweepSpec
from ibray.stages import plan_tasks
from ibray.stages.base import Task
from ibray.store import Store


class Sweep:
    """A sweep directory in which tasks are not run but declared done, running or failed."""

    def __init__(self, out: Path):
        self.out = out
        self.database = out / "results.duckdb"
        store.create(self.database)

    def missing(self, spec: SweepSpec) -> list[Task]:
        return missing_tasks(self.database, plan_tasks(spec, spec.cells(), ["train", "mi"]), self.out)

    def plan(self, spec: SweepSpec) -> list[Task]:
        """What the sweep would run, written down as queued."""
        missing = self.missing(spec)
        enter_plan(self.database, spec.cells(), missing)
        return missing

    def mark(self, status: str, tasks: Iterable[Task]) -> None:
        """Declare tasks done (with the snapshots they leave), running or failed."""
        writer = Store(self.database, interval=3600)
        for task in tasks:
            writer.begin(task.key, host="here")
            if status == "done":
                for epoch in task.settings.get("snapshots", []):
                    Snapshots(self.out, task.cell.run_id).save(epoch, nn.Linear(1, 1))
                writer.finish(task.key, {})
            elif status == "failed":
                writer.fail(task.key, "the reason")
        writer.close()

    def query(self, sql: str) -> list[tuple]:
        with duckdb.connect(str(self.database), read_only=True) as con:
            return con.execute(sql).fetchall()


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path)


def names(tasks: Iterable[Task]) -> list[tuple]:
    return [(task.cell.attack.name, task.stage, task.unit) for task in tasks]


def of_stage(tasks: Iterable[Task], stage: str) -> list[Task]:
    return [task for task in tasks if task.stage == stage]


def test_of_a_fresh_grid_everything_is_missing_in_its_order(sweep, tiny):
    assert names(sweep.missing(tiny())) == [
        ("none", "train", 0), ("none", "mi", 1), ("none", "mi", 3),
        ("badnets", "train", 0), ("badnets", "mi", 1), ("badnets", "mi", 3),
    ]  # fmt: skip


def test_what_is_done_is_not_planned_again(sweep, tiny):
    tasks = sweep.plan(tiny())
    sweep.mark("done", tasks[:2])
    assert sweep.missing(tiny()) == tasks[2:]


def test_of_a_finished_grid_nothing_is_missing(sweep, tiny):
    sweep.mark("done", sweep.plan(tiny()))
    assert sweep.missing(tiny()) == []


def test_a_finished_grid_does_not_need_its_snapshots(sweep, tiny):
    tasks = sweep.plan(tiny())
    sweep.mark("done", tasks)
    for path in (sweep.out / "snapshots").rglob("*.safetensors"):
        path.unlink()
    assert sweep.missing(tiny()) == []


@pytest.mark.parametrize("status", ["failed", "running"])
def test_what_failed_or_was_interrupted_is_planned_again(sweep, tiny, status):
    tasks = sweep.plan(tiny())
    sweep.mark(status, tasks[:1])
    assert sweep.missing(tiny()) == tasks


def test_a_grown_grid_plans_only_its_new_cells(sweep, tiny):
    sweep.mark("done", sweep.plan(tiny()))
    assert {task.cell.seed for task in sweep.missing(tiny(seed=[0, 1]))} == {1}


def test_another_snapshot_plans_the_training_that_leaves_it_and_its_estimate(sweep, tiny):
    sweep.mark("done", sweep.plan(tiny(attack="badnets")))
    training = {"epochs": 3, "snapshots": [1, 2, 3], "batch_size": 32, "lr": 0.05}
    more = sweep.missing(tiny(attack="badnets", training=training))
    assert names(more) == [("badnets", "train", 0), ("badnets", "mi", 2)]


def test_other_mi_settings_plan_only_mi(sweep, tiny):
    tasks = sweep.plan(tiny())
    sweep.mark("done", tasks)
    assert names(sweep.missing(tiny(mi={"draws": 4}))) == names(of_stage(tasks, "mi"))


def test_a_training_whose_snapshot_is_gone_is_planned_again_while_an_estimate_needs_it(sweep, tiny):
    tasks = sweep.plan(tiny())
    sweep.mark("done", of_stage(tasks, "train"))
    run_id = tasks[0].cell.run_id
    (sweep.out / "snapshots" / run_id / "epoch_0003.safetensors").unlink()
    trainings = of_stage(sweep.missing(tiny()), "train")
    assert [task.cell.run_id for task in trainings] == [run_id]


def test_a_plan_is_written_down_as_queued(sweep, tiny):
    sweep.plan(tiny())
    assert sweep.query("SELECT DISTINCT status, attempts FROM stages") == [("queued", 0)]
    assert sweep.query("SELECT attack, poison_ratio, status FROM runs ORDER BY 1") == [
        ("badnets", 0.1, "queued"), ("none", 0.0, "queued"),
    ]  # fmt: skip


def test_planning_twice_changes_nothing(sweep, tiny):
    sweep.plan(tiny())
    tables = [sweep.query("FROM stages ORDER BY ALL"), sweep.query("FROM runs ORDER BY ALL")]
    sweep.plan(tiny())
    assert [sweep.query("FROM stages ORDER BY ALL"), sweep.query("FROM runs ORDER BY ALL")] == tables


def test_planning_a_failed_run_again_clears_its_error(sweep, tiny):
    spec = tiny(attack="badnets")
    sweep.mark("failed", sweep.plan(spec)[:1])
    assert sweep.query("SELECT status, error FROM runs") == [("failed", "the reason")]
    sweep.plan(spec)
    assert sweep.query("SELECT status, error FROM runs") == [("queued", None)]


def test_a_shrunk_grid_keeps_what_is_done_and_forgets_what_is_queued(sweep, tiny):
    tasks = sweep.plan(tiny(attack=["none", "badnets", "blend"]))
    sweep.mark("done", of_stage([task for task in tasks if task.cell.attack.name != "blend"], "train"))
    sweep.plan(tiny(attack="none"))
    left = "SELECT attack, stage, unit, s.status FROM stages s JOIN runs USING (run_id) ORDER BY ALL"
    assert sweep.query(left) == [
        ("badnets", "train", 0, "done"),
        ("none", "mi", 1, "queued"), ("none", "mi", 3, "queued"), ("none", "train", 0, "done"),
    ]  # fmt: skip
    assert sweep.query("SELECT attack FROM runs ORDER BY 1") == [("badnets",), ("none",)]


def test_after_an_interruption_nothing_runs(sweep, tiny):
    tasks = sweep.plan(tiny())
    sweep.mark("done", tasks[:1])
    sweep.mark("running", tasks[1:2])
    release_running(sweep.database)
    assert sweep.query("SELECT status, count(*) FROM stages GROUP BY 1 ORDER BY 1") == [("done", 1), ("queued", 5)]
    assert sweep.query("SELECT DISTINCT status FROM runs") == [("queued",)]


def test_after_an_interruption_of_its_first_stage_a_run_is_queued(sweep, tiny):
    sweep.mark("running", sweep.plan(tiny(attack="badnets"))[:1])
    release_running(sweep.database)
    assert sweep.query("SELECT status FROM runs") == [("queued",)]


def test_planning_20_000_tasks_takes_seconds(sweep, tiny):
    # A sanity bound with a wide margin, not a benchmark: it notices a query per task.
    training = {"epochs": 9, "snapshots": list(range(1, 10))}
    spec = tiny(attack="badnets", seed=list(range(2000)), training=training)
    cells = spec.cells()
    tasks = plan_tasks(spec, cells, ["train", "mi"])
    assert len(tasks) == 20_000
    started = time.process_time()
    missing = missing_tasks(sweep.database, tasks, sweep.out)
    enter_plan(sweep.database, cells, missing)
    assert time.process_time() - started < 5
    assert sweep.query("SELECT count(*) FROM stages") == [(20_000,)]
