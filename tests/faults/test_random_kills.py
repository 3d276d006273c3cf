"""SIGKILL at random moments to everything that a sweep on a cluster consists of; the rows are those of a quiet run.

Run by hand, with its figures printed and kept in .pytest_cache/d/faults: pytest -m slow -s tests/faults
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from drivers import Driver, wait_for
from machines import Machines, kill
from rows import doubled, numbers, query, states

from ibray.sweep import run_sweep

pytestmark = pytest.mark.ray

KILLS = {"worker": 1, "writer": 1, "raylet": 1, "driver": 1}
MANY_KILLS = {"worker": 40, "writer": 26, "raylet": 14, "node": 10, "driver": 12}
KILLED_BY = 0.7  # the share of the tasks that are done when the last kill is due: the sweep must not end before it
LATEST = 0.5  # seconds after its turn that a kill comes


def one_kill(kind: str, machines: Machines, driver: Driver, moments: Random) -> None:
    """Kill one part of a sweep, when there is one of the kind."""
    if kind == "driver":
        driver.kill()
    elif kind in ("raylet", "node"):
        lose = machines.kill_raylet if kind == "raylet" else machines.kill_node
        lose(moments.choice(machines.nodes()))
        machines.add_node()
    else:
        found = {"worker": machines.trials, "writer": machines.writers}[kind]
        kill([moments.choice(wait_for(found, kind))])


def disturb(driver: Driver, machines: Machines, kills: dict[str, int], moments: Random, tasks: int) -> Counter:
    """Run a sweep to its end among kills; returns how many there were of each kind.

    They are spread over the work and not over time, so each of them meets a sweep that still has work to do.
    """
    due = moments.sample(list(kills), counts=kills.values(), k=sum(kills.values()))
    turns = [KILLED_BY * tasks * turn / len(due) for turn in range(len(due))]
    done: Counter = Counter()
    while True:
        driver.start()
        while driver.process.poll() is None:
            if due and driver.log().count(" INFO done: ") >= turns[done.total()]:
                time.sleep(moments.uniform(0, LATEST))
                kind = due.pop()
                one_kill(kind, machines, driver, moments)
                done[kind] += 1
            time.sleep(0.1)
        if driver.process.returncode == 0:
            return done
        # Killed, or a trial was hit more often than it is tried again: the same command goes on.
        assert driver.starts < 2 * sum(kills.values()), driver.said


def _seconds_undisturbed(spec, tmp_path, data_dir, machines, stages) -> float:
    """What the sweep takes when nobody is killed: the rest of a disturbed one's time is wasted."""
    (tmp_path / "calm").mkdir()
    driver, started = Driver(spec, tmp_path / "calm", data_dir, machines.address, stages), time.monotonic()
    driver.start()
    assert driver.process.wait() == 0, driver.said
    return round(time.monotonic() - started, 1)


@pytest.mark.parametrize(
    ("kills", "seeds", "stages"),
    [
        pytest.param(KILLS, 3, ["mi"], id="some"),
        pytest.param(MANY_KILLS, 20, [], marks=[pytest.mark.slow, pytest.mark.timeout(7200)], id="many"),
    ],
)
def test_no_kill_loses_or_doubles_a_row(kills, seeds, stages, machines, fast, data_dir, tmp_path, request):
    spec = fast(seed=list(range(seeds)), retries=3)
    quiet = run_sweep(spec, tmp_path / "quiet", inline=True, data_dir=data_dir, stages=stages)
    undisturbed = _seconds_undisturbed(spec, tmp_path, data_dir, machines, stages) if kills is MANY_KILLS else None
    (tasks,) = query(quiet, "SELECT count(*) FROM stages")[0]
    driver, started = Driver(spec, tmp_path, data_dir, machines.address, stages), time.monotonic()
    done = disturb(driver, machines, kills, Random(20261126), tasks)
    report = {
        "cells": len(spec.cells()),
        "tasks": tasks,
        "kills": dict(done),
        "drivers": driver.starts,
        "failed trials": driver.log().count("Trial task failed"),
        "seconds": round(time.monotonic() - started, 1),
        "seconds undisturbed on the same machines": undisturbed,
        "seconds of work in the rows": query(driver.database, "SELECT round(sum(seconds), 1) FROM stages")[0][0],
    }
    kept = Path(request.config.cache.mkdir("faults")) / f"{request.node.callspec.id}.json"
    kept.write_text(json.dumps(report))
    print(json.dumps(report, indent=1))
    assert done == kills
    assert numbers(driver.database) == numbers(quiet)
    assert states(driver.database) == states(quiet)
    assert doubled(driver.database) == {}
    assert query(driver.database, "SELECT DISTINCT status FROM runs UNION SELECT DISTINCT status FROM stages") == [
        ("done",)
    ]
    assert [path for path in driver.out.rglob(".*") if path.name != ".lock"] == []
    wait_for(lambda: not machines.trials() and not machines.writers(), "the end of the sweep's processes")
