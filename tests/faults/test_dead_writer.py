"""The writer dies between taking rows and writing them; its successor has the stage's end without them.

A writer that is dropped without `close` has died as by SIGKILL: what it had not written is gone.
"""

from __future__ import annotations

import pytest
from rows import numbers, query

from ibray.execute import execute
from ibray.stages import plan_tasks, threads_of
from ibray.store import StageKey, Store
from ibray.sweep import run_sweep

KEY = StageKey("a", "train", 0, "s")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results.duckdb"


def writer(path) -> Store:
    """One that writes only when it is told to."""
    return Store(path, interval=3600)


def stages(path) -> list[tuple]:
    return query(path, "SELECT status, attempts, error, started IS NOT NULL, host FROM stages")


class Mortal:
    """A writer whose process dies when a stage ends, just before it hears of that."""

    def __init__(self, path):
        self.path, self.store = path, writer(path)

    def __getattr__(self, name):
        return getattr(self.store, name)

    def finish(self, *arguments, **facts):
        self.store = writer(self.path)
        self.store.finish(*arguments, **facts)
        self.store.flush()


def test_a_stage_that_is_done_has_all_its_rows(path, fast, data_dir, tmp_path):
    spec = fast(attack="badnets")
    quiet = run_sweep(spec, tmp_path / "quiet", inline=True, data_dir=data_dir)
    sink = Mortal(path)
    for task in plan_tasks(spec, spec.cells()):
        about = {"out": tmp_path, "data_dir": data_dir, "threads": threads_of(spec)[task.stage]}
        execute(task, sink, tell=lambda news: None, **about)
    sink.close()
    assert numbers(path) == numbers(quiet)
    whole = "count(*) FILTER (host IS NULL OR started IS NULL OR versions IS NULL OR finished < started)"
    assert query(path, f"SELECT status, {whole} FROM stages GROUP BY 1") == [("done", 0)]


def test_a_successor_knows_what_ran(path):
    first = writer(path)
    first.begin(KEY, host="here")
    first.flush()
    second = writer(path)
    second.lost(KEY, "the worker died")
    second.flush()
    assert stages(path) == [("failed", 1, "the worker died", True, "here")]
    third = writer(path)
    third.begin(KEY, host="there")
    third.finish(KEY, {})
    third.close()
    assert stages(path) == [("done", 2, None, True, "there")]


def test_a_stage_is_lost_though_its_beginning_was_lost_too(path):
    writer(path).begin(KEY)
    second = writer(path)
    second.lost(KEY, "the worker died")
    second.close()
    assert [row[:3] for row in stages(path)] == [("failed", 1, "the worker died")]


@pytest.mark.parametrize(("end", "status"), [("done", "done"), ("failed", "failed")])
def test_a_successor_believes_what_a_stage_said_itself(path, end, status):
    first = writer(path)
    first.begin(KEY)
    if end == "done":
        first.finish(KEY, {})
    else:
        first.fail(KEY, "its own words")
    first.flush()
    second = writer(path)
    second.lost(KEY, "the worker died")
    second.close()
    assert [row[:3] for row in stages(path)] == [(status, 1, "its own words" if end == "failed" else None)]
