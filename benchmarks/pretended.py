"""Stages that do nothing or sleep: work of a known length, for benchmarks of what ibray and Ray add to it.

    noop    nothing
    nap     4 to 12 s on the share of an MI trial
    lesson  a training of 4 s (seeds 0 to 4) or 12 s, which leaves a snapshot after every quarter
    exam    2 s on a snapshot of `lesson`

The environment variable SLOWER makes all of them as many times as long.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray

from ibray.cell import Cell
from ibray.ray_runner import NAMESPACE
from ibray.spec import SweepSpec, parse_spec
from ibray.stages import STAGES
from ibray.stages.base import Context, Need, News, Settings, Stage, Tables

QUARTERS = (1, 2, 3, 4)
SLOWER = "SLOWER"
NOTHING = Settings()


def _slower() -> float:
    return float(os.environ.get(SLOWER, 1))


def nap_seconds(seed: int) -> float:
    """Spread evenly over 4 to 12, in no order."""
    return _slower() * (4 + 8 * (seed * 0.6180339887 % 1))


def lesson_seconds(seed: int) -> float:
    return _slower() * (4.0 if seed < 5 else 12.0)


def exam_seconds() -> float:
    return _slower() * 2.0


def _noop(context: Context) -> Tables:
    context.tell(News(steps=1))
    return {}


def _nap(context: Context) -> Tables:
    time.sleep(nap_seconds(context.task.cell.seed))
    return _noop(context)


def _lesson(context: Context) -> Tables:
    cell = context.task.cell
    for quarter in QUARTERS:
        time.sleep(lesson_seconds(cell.seed) / len(QUARTERS))
        path = _snapshot(context.out, cell.run_id, quarter)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        context.tell(News(steps=quarter, artifact=quarter))
    return {}


def _exam(context: Context) -> Tables:
    time.sleep(exam_seconds())
    return _noop(context)


def _snapshot(out: Path, run_id: str, quarter: int) -> Path:
    return out / "lessons" / run_id / str(quarter)


def _stage(**different: Any) -> Stage:
    usual: dict[str, Any] = {
        "subject": lambda cell: cell, "settings": lambda spec: lambda cell: NOTHING, "units": lambda spec, cell: [0],
        "needs": lambda task: [], "has_artifact": None, "steps": lambda cell: 1, "step_name": "times", "share": "mi",
    }  # fmt: skip
    return Stage(**{**usual, **different})


PRETENDED = {
    "noop": _stage(run=_noop),
    "nap": _stage(run=_nap),
    "lesson": _stage(
        run=_lesson, share="train", steps=lambda cell: len(QUARTERS),
        has_artifact=lambda out, run_id, quarter: quarter and _snapshot(out, run_id, quarter).exists(),
    ),
    "exam": _stage(
        run=_exam, units=lambda spec, cell: list(QUARTERS),
        needs=lambda task: [Need(task.cell.run_id, "lesson", task.unit)],
    ),
}  # fmt: skip


def register() -> None:
    """Put them beside ibray's own stages, in this process; imports all that a trial will need."""
    STAGES._entries.update(PRETENDED)


def start_ray(cpus: int, gpus: int) -> None:
    """A Ray of this machine alone that takes it to have so many, and whose workers know these stages."""
    register()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init(
        address="local", num_cpus=cpus, num_gpus=gpus, namespace=NAMESPACE, include_dashboard=False,
        log_to_driver=False, logging_level="ERROR", object_store_memory=200 * 2**20,
        runtime_env={
            "worker_process_setup_hook": register,
            "env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), SLOWER: str(_slower())},
        },
    )  # fmt: skip


def warm_up(workers: int) -> None:
    """Have so many processes ready that have imported everything: their start is not what is measured."""

    @ray.remote(num_cpus=1)
    def hold(directory: str) -> None:
        Path(directory, str(os.getpid())).touch()
        while len(list(Path(directory).iterdir())) < workers:
            time.sleep(0.1)

    with tempfile.TemporaryDirectory() as directory:
        ray.get([hold.remote(directory) for _ in range(workers)])


def sweep_of(seeds: int, name: str = "pretended", **changes: Any) -> SweepSpec:
    """A sweep of so many cells; keyword arguments add top-level keys."""
    dataset = {"name": "digits", "per_class": 10}
    return parse_spec({"name": name, "dataset": dataset, "attack": "none", "seed": list(range(seeds)), **changes}, name)


def seeds_of(cells: list[Cell]) -> dict[str, int]:
    return {cell.run_id: cell.seed for cell in cells}
