"""`ibray status`: how far a sweep is, how fast it goes, what went wrong last."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.text import Text

from analysis import db
from ibray.pace import StagePace, TimeLeft, time_left
from ibray.store import now
from ibray.terminal import duration, frame_table, plain_table
from ibray.workspace import is_locked

if TYPE_CHECKING:
    from ibray.machines import GpuUse, Use

COUNTS = """
SELECT stage, count(*) FILTER (status = 'done') AS done, count(*) FILTER (status = 'running') AS running,
    count(*) FILTER (status = 'queued') AS queued, count(*) FILTER (status = 'failed') AS failed,
    avg(seconds) FILTER (status = 'done') AS mean_seconds, stddev_samp(seconds) FILTER (status = 'done') AS spread,
    count(seconds) FILTER (status = 'done') AS measured,
    coalesce(sum(seconds) FILTER (status = 'done' AND finished >= (SELECT max(started) FROM sweeps)), 0) AS worked
FROM stages GROUP BY stage ORDER BY min(started) NULLS LAST, stage
"""
SHOWN = ["stage", "done", "running", "queued", "failed", "mean_seconds"]
RUNNING = "SELECT stage, greatest(0, epoch(?::TIMESTAMP - started)) FROM stages WHERE status = 'running'"
ERRORS = """
SELECT r.dataset, r.attack, r.poison_ratio, r.seed, s.stage, s.unit, s.attempts,
    split_part(s.error, chr(10), 1) AS error
FROM stages s LEFT JOIN runs r USING (run_id) WHERE s.status = 'failed' AND s.error NOT LIKE 'not run:%'
ORDER BY s.finished DESC LIMIT 5
"""
FINISHED_CELLS = """
SELECT count(*) FROM runs WHERE status = 'done' AND finished >= (SELECT max(started) FROM sweeps)
"""


@dataclass(frozen=True)
class Status:
    """A sweep at one moment.

    Attributes:
        elapsed: seconds that the last sweep has run, or ran.
        cells_per_hour: finished by the last sweep; None before its first moment.
        left: None when no sweep is running, or nothing is known yet.
        runs: status -> number of cells.
    """

    directory: Path
    is_running: bool
    elapsed: float
    cells_per_hour: float | None
    left: TimeLeft | None
    runs: dict[str, int]
    stages: pd.DataFrame
    errors: pd.DataFrame

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        tables = {"stages": self.stages[SHOWN], "errors": self.errors}
        return {
            "running": self.is_running,
            "elapsed_seconds": self.elapsed,
            "cells_per_hour": self.cells_per_hour,
            "seconds_left": self.left and self.left.seconds,
            "seconds_left_interval": self.left and self.left.interval,
            "runs": self.runs,
            **{name: json.loads(frame.to_json(orient="records")) for name, frame in tables.items()},
        }

    def rendered(self, machines: Iterable[Use] = ()) -> RenderableType:
        """What a person sees: a line, the stages, what the machines are busy with, the last errors."""
        shown = self.stages[SHOWN].rename(columns={"mean_seconds": "mean seconds"})
        parts: list[RenderableType] = [Text(f"{self.directory}: {self._line()}"), frame_table(shown, digits=3)]
        if machines:
            parts += [Text(), _machine_table(machines)]
        if len(self.errors):
            parts += [Text("\nLast errors:"), frame_table(self.errors, digits=3)]
        return Group(*parts)

    def _line(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(self.runs.items())) or "no runs yet"
        if not self.is_running:
            return f"no sweep is running; runs: {counts}"
        rate = f", {self.cells_per_hour:.3g} cells per hour" if self.cells_per_hour else ""
        return f"running for {duration(self.elapsed)}, {_left(self.left)} left{rate}; runs: {counts}"


def read_status(directory: Path, *, patience: float = 10.0) -> Status:
    """Read a sweep's database, which may be in use; waits up to `patience` seconds for a writer."""
    moment = now()
    with db.read(directory, patience=patience) as con:
        stages = con.sql(COUNTS).df()
        running = con.execute(RUNNING, [moment]).fetchall()
        errors = con.sql(ERRORS).df()
        runs = dict(con.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall())
        last = con.execute("SELECT started, finished FROM sweeps ORDER BY started DESC LIMIT 1").fetchone()
        ((finished_cells,),) = con.execute(FINISHED_CELLS).fetchall()
    started, finished = last or (None, None)
    elapsed = ((finished or moment) - started).total_seconds() if started else 0.0
    is_running = is_locked(directory)
    return Status(
        directory=directory,
        is_running=is_running,
        elapsed=elapsed,
        cells_per_hour=finished_cells / elapsed * 3600 if elapsed > 0 else None,
        left=time_left(_paces(stages, running), elapsed) if is_running else None,
        runs=runs,
        stages=stages,
        errors=errors,
    )


def print_status(directory: Path, console: Console, *, as_json: bool = False) -> None:
    """Print counts per stage, rate, time left and the last errors; works while a sweep runs."""
    status = read_status(directory)
    if as_json:
        print(json.dumps(status.as_json()))
    else:
        console.print(status.rendered())


def _paces(stages: pd.DataFrame, running: list[tuple[str, float]]) -> list[StagePace]:
    return [
        StagePace(
            done=row.measured,
            mean=None if pd.isna(row.mean_seconds) else row.mean_seconds,
            spread=None if pd.isna(row.spread) else row.spread,
            worked=row.worked,
            queued=row.queued,
            running=[seconds or 0.0 for stage, seconds in running if stage == row.stage],
        )
        for row in stages.itertuples()
    ]


def _left(left: TimeLeft | None) -> str:
    if left is None:
        return "unknown time"
    if left.interval is None:
        return f"about {duration(left.seconds)}"
    low, high = left.interval
    return f"about {duration(left.seconds)} ({duration(low)} to {duration(high)})"


def _machine_table(machines: Iterable[Use]) -> RenderableType:
    table = plain_table("machine", "CPU in use", "memory in use", "GPU in use")
    for use in machines:
        memory = f"{use.memory_gib:.1f} of {use.memory_total_gib:.1f} GiB"
        gpus = "\n".join(map(_gpu, use.gpus)) or "-"
        table.add_row(use.host, f"{use.cpu_percent:.0f}% of {use.cores} cores", memory, gpus)
    return table


def _gpu(gpu: GpuUse) -> str:
    parts = [] if gpu.percent is None else [f"{gpu.percent:.0f}%"]
    if gpu.memory_gib is not None and gpu.memory_total_gib is not None:
        parts.append(f"{gpu.memory_gib:.1f} of {gpu.memory_total_gib:.1f} GiB")
    return f"{gpu.name}: {', '.join(parts) or 'unknown'}"
