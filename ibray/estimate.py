"""What a sweep will take: hours, GPU-hours and disk; from what was measured where there is something, else from FLOPs.

A measured time is the mean of its kind in the sweep's own database. FLOPs become time by an assumed rate of one GPU.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ibray.cell import Cell, DatasetChoice
from ibray.datasets import DatasetSizes, dataset_sizes
from ibray.spec import SweepSpec
from ibray.stages import resources_of
from ibray.stages.base import Task
from ibray.store import connect
from ibray.work import FLOP, checkpoint_bytes, network

# One row per kind of task: what runs in the same time but for its trigger, noise and seed.
MEASURED = """
SELECT s.stage, s.settings, r.architecture, r.dataset, r.per_class, (r.cell->>'$.training.epochs')::INTEGER,
    avg(s.seconds), string_agg(DISTINCT coalesce(s.device, 'an unknown device'), ', ')
FROM stages s JOIN runs r USING (run_id) WHERE s.status = 'done' AND s.seconds IS NOT NULL GROUP BY ALL
"""


@dataclass(frozen=True)
class Time:
    """How long some tasks of one stage take.

    Attributes:
        hours: of their trials, one after another.
        gpu_hours: the same, each counted as the fraction of a GPU that its trial reserves.
        flop: the work that hours were worked out from; None where they were measured.
        device: what they were measured on; None where they were not.
    """

    tasks: int
    hours: float
    gpu_hours: float
    flop: float | None = None
    device: str | None = None

    def __add__(self, other: Time) -> Time:
        flop = None if self.flop is None or other.flop is None else self.flop + other.flop
        hours, gpu_hours = self.hours + other.hours, self.gpu_hours + other.gpu_hours
        return Time(self.tasks + other.tasks, hours, gpu_hours, flop, self.device)


@dataclass(frozen=True)
class Disk:
    """Bytes on disk: all snapshots in the end, and the checkpoints of one run while it trains (the largest's)."""

    snapshots: int
    snapshot_bytes: int
    checkpoint_bytes: int


class Estimator:
    """The facts that estimates of one sweep share: sizes of its datasets, what its database has measured."""

    def __init__(self, spec: SweepSpec, database: Path, data_dir: Path | None, tflops: float):
        self.spec, self.data_dir, self.tflops = spec, data_dir, tflops
        self.measured = _measured(database) if database.exists() else {}
        self._sizes: dict[DatasetChoice, DatasetSizes] = {}

    def times(self, tasks: Iterable[Task]) -> list[Time]:
        """The time of tasks of one stage, those known in the same way together; what is not known is left out."""
        by_source: dict[str | None, Time] = {}
        for task in tasks:
            time = self._time(task)
            if time is not None:
                known = by_source.get(time.device)
                by_source[time.device] = time if known is None else known + time
        return list(by_source.values())

    def disk(self, cells: Iterable[Cell]) -> Disk:
        """What these runs leave on disk, done or not."""
        counted = [(cell, self._sizes_of(cell), len(self.spec.snapshots(cell))) for cell in cells]
        return Disk(
            snapshots=sum(count for _, _, count in counted),
            snapshot_bytes=sum(count * network(cell, sizes).state_bytes for cell, sizes, count in counted),
            checkpoint_bytes=max(checkpoint_bytes(cell, sizes) for cell, sizes, _ in counted),
        )

    def _time(self, task: Task) -> Time | None:
        gpu = resources_of(self.spec, task.stage).gpu
        seconds, device = self.measured.get(_kind(task), (None, None))
        if seconds is not None:
            hours = seconds / 3600
            return Time(1, hours, 0.0 if device == "cpu" else hours * gpu, device=device)
        flop = FLOP[task.stage](task, self._sizes_of(task.cell)) if task.stage in FLOP else None
        if flop is None:
            return None
        # A trial gets its fraction of the rate, and no more than one GPU; without one, the rate is its CPUs'.
        hours = flop / (self.tflops * 1e12 * (min(gpu, 1) or 1)) / 3600
        return Time(1, hours, hours * gpu, flop=flop)

    def _sizes_of(self, cell: Cell) -> DatasetSizes:
        choice = cell.dataset
        if choice not in self._sizes:
            self._sizes[choice] = dataset_sizes(
                choice.name, data_dir=self.data_dir, per_class=choice.per_class, test_per_class=choice.test_per_class
            )
        return self._sizes[choice]


def _kind(task: Task) -> tuple[Any, ...]:
    """What a task shares with those that take the same time: the first columns of MEASURED."""
    cell = task.cell
    dataset = cell.dataset
    about = (str(cell.architecture), dataset.name, dataset.per_class, cell.training.epochs)
    return (task.stage, task.key.settings, *about)


def _measured(database: Path) -> dict[tuple[Any, ...], tuple[float, str]]:
    """Kind of task -> mean seconds of those that are done, and what they ran on."""
    with connect(database) as con:
        rows = con.execute(MEASURED).fetchall()
    return {tuple(kind): (seconds, device) for *kind, seconds, device in rows}
