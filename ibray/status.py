"""`ibray status`: how far a sweep is, how fast it goes, what went wrong last."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from analysis import db
from ibray.store import now
from ibray.terminal import frame_table
from ibray.workspace import is_locked

COUNTS = """
SELECT stage, count(*) FILTER (status = 'done') AS done, count(*) FILTER (status = 'running') AS running,
    count(*) FILTER (status = 'queued') AS queued, count(*) FILTER (status = 'failed') AS failed,
    avg(seconds) FILTER (status = 'done') AS mean_seconds,
    count(*) FILTER (status = 'done' AND finished >= (SELECT max(started) FROM sweeps)) AS done_now
FROM stages GROUP BY stage ORDER BY min(started) NULLS LAST, stage
"""
ERRORS = """
SELECT r.dataset, r.attack, r.poison_ratio, r.seed, s.stage, s.unit, s.attempts,
    split_part(s.error, chr(10), 1) AS error
FROM stages s LEFT JOIN runs r USING (run_id) WHERE s.status = 'failed' AND s.error NOT LIKE 'not run:%'
ORDER BY s.finished DESC LIMIT 5
"""


def print_status(directory: Path, console: Console, *, as_json: bool = False) -> None:
    """Print counts per stage, rate, time left and the last errors; works while a sweep runs."""
    with db.read(directory) as con:
        stages = con.sql(COUNTS).df()
        errors = con.sql(ERRORS).df()
        runs = dict(con.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall())
        last = con.execute("SELECT started, finished FROM sweeps ORDER BY started DESC LIMIT 1").fetchone()
        started, finished = last or (None, None)
    is_running = is_locked(directory)
    elapsed = ((finished or now()) - started).total_seconds() if started else 0.0
    seconds_left = _seconds_left(stages, elapsed) if is_running else None
    if as_json:
        facts = {"running": is_running, "elapsed_seconds": elapsed, "seconds_left": seconds_left, "runs": runs}
        tables = {"stages": stages, "errors": errors}
        records = {name: json.loads(frame.to_json(orient="records")) for name, frame in tables.items()}
        print(json.dumps({**facts, **records}))
        return
    shown = stages.drop(columns="done_now").rename(columns={"mean_seconds": "mean seconds"})
    console.print(f"{directory}: {_state(is_running, runs, elapsed, seconds_left)}")
    console.print(frame_table(shown, digits=3))
    if len(errors):
        console.print("\nLast errors:")
        console.print(frame_table(errors, digits=3))


def _seconds_left(stages, elapsed: float) -> float | None:
    """What is left, at the pace of this sweep so far, each stage weighted by its mean duration."""
    work = stages["mean_seconds"].fillna(stages["mean_seconds"].mean())
    done = (stages["done_now"] * work).sum()
    left = ((stages["queued"] + stages["running"]) * work).sum()
    return elapsed * left / done if done > 0 else None


def _state(is_running: bool, runs: dict[str, int], elapsed: float, seconds_left: float | None) -> str:
    counts = ", ".join(f"{count} {status}" for status, count in sorted(runs.items())) or "no runs yet"
    if not is_running:
        return f"no sweep is running; runs: {counts}"
    left = "unknown" if seconds_left is None else f"about {_duration(seconds_left)}"
    return f"running for {_duration(elapsed)}, {left} left; runs: {counts}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
