"""Whole sweeps on real Ray: same rows as inline, fractions of a GPU, dead workers, and readers while it runs."""

from __future__ import annotations

import os
import signal
import threading
import time

import psutil
import pytest
import ray
from rows import doubled, numbers, query

from analysis import db
from ibray.errors import UserError
from ibray.sweep import run_sweep
from ibray.workspace import enter_output

pytestmark = pytest.mark.ray

GPU_FRACTIONS = {"train": {"cpu": 1, "gpu": 1}, "mi": {"cpu": 0.5, "gpu": 0.25}}


@pytest.fixture
def sweep(ray_cluster, tmp_path, data_dir):
    """Run a spec on Ray in this test's output directory; returns the database."""
    return lambda spec, **options: run_sweep(spec, tmp_path / "out", data_dir=data_dir, **options)


def test_ray_and_inline_write_the_same_rows(sweep, tiny, tmp_path, data_dir):
    spec = tiny(seed=[0, 1], resources=GPU_FRACTIONS)
    database = sweep(spec)
    on_ray = numbers(database)
    assert query(database, "SELECT DISTINCT length(node) FROM stages UNION SELECT DISTINCT length(node) FROM runs") == [
        (len(ray.get_runtime_context().get_node_id()),)
    ]
    inline = numbers(run_sweep(spec, tmp_path / "inline", inline=True, data_dir=data_dir))
    assert on_ray == inline


def test_a_failing_cell_is_retried_then_recorded_and_the_rest_goes_on(sweep, tiny, tmp_path):
    spec = tiny(retries=1)
    healthy, broken = spec.cells()
    enter_output(tmp_path / "out", spec)
    (tmp_path / "out" / "snapshots").mkdir()
    (tmp_path / "out" / "snapshots" / broken.run_id).write_text("in the way")
    database = sweep(spec)
    statuses = dict(query(database, "SELECT run_id, status FROM runs"))
    assert statuses == {healthy.run_id: "done", broken.run_id: "failed"}
    ((attempts, error),) = query(
        database, "SELECT attempts, error FROM stages WHERE status = 'failed' AND stage = 'train'"
    )
    assert attempts == 2 and broken.run_id in error
    waiting = query(database, "SELECT error FROM stages WHERE status = 'failed' AND stage = 'mi'")
    assert waiting == [("not run: stage 'train' of the same run failed",)] * 2


def test_a_killed_worker_costs_one_retry_and_no_row(sweep, tiny, tmp_path, data_dir):
    training = {"epochs": 40, "snapshots": [1, 40], "batch_size": 32, "lr": 0.05}
    spec = tiny(attack="badnets", training=training, retries=2)
    killed = []

    def kill_a_busy_worker():
        deadline = time.monotonic() + 60
        while not killed and time.monotonic() < deadline:
            for process in psutil.Process().children(recursive=True):
                busy = process.name().startswith("ray::") and "train" in process.name()
                snapshot = list((tmp_path / "out" / "snapshots").glob("*/epoch_0001.json"))
                if busy and snapshot:
                    os.kill(process.pid, signal.SIGKILL)
                    killed.append(process.pid)
                    return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_a_busy_worker)
    killer.start()
    database = sweep(spec)
    killer.join()
    assert killed
    assert query(database, "SELECT DISTINCT status FROM runs") == [("done",)]
    assert max(n for (n,) in query(database, "SELECT attempts FROM stages")) == 2
    assert doubled(database) == {}
    assert numbers(database) == numbers(run_sweep(spec, tmp_path / "inline", inline=True, data_dir=data_dir))


def test_status_and_sql_answer_while_a_sweep_runs(sweep, tiny, tmp_path):
    training = {"epochs": 30, "snapshots": [1, 2, 30], "batch_size": 32, "lr": 0.05}
    answers, waits = [], []
    finished = threading.Event()

    def ask():
        while not (tmp_path / "out" / "results.duckdb").exists():
            time.sleep(0.02)
        while not finished.is_set():
            started = time.monotonic()
            with db.read(tmp_path / "out") as con:
                answers.append(con.execute("SELECT count(*) FROM epochs").fetchall()[0][0])
            waits.append(time.monotonic() - started)
            time.sleep(0.1)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        database = sweep(tiny(attack="badnets", training=training))
    finally:
        finished.set()
        asker.join()
    assert answers == sorted(answers) and len(set(answers)) > 2  # it grows before our eyes
    assert max(waits) < 5
    assert query(database, "SELECT count(*) FROM epochs") == [(30,)]


def test_a_trial_that_this_machine_cannot_hold_is_refused_at_once(sweep, tiny):
    with pytest.raises(UserError, match=r"resources\.mi: a trial asks for 64 CPU .* this machine has 2 CPU"):
        sweep(tiny(resources={"mi": {"cpu": 64}}))
