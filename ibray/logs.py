"""`ibray logs`: everything known about one cell of a sweep; without one, which cells failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
from rich.console import Console

from analysis import db
from ibray.find_cell import AXES, Run, all_runs, describe_run, find_run, settings_of
from ibray.sweep_log import records_about
from ibray.terminal import frame_table, plain_table

LOG = Path("logs") / "sweep.log"
FAILED = """
SELECT run_id, string_agg(DISTINCT stage || CASE WHEN unit > 0 THEN ' of epoch ' || unit ELSE '' END, ', ') AS failed,
    split_part(arg_min(error, finished), chr(10), 1) AS error
FROM stages WHERE status = 'failed' AND error NOT LIKE 'not run:%' GROUP BY run_id ORDER BY min(finished)
"""
UNITS = """
SELECT stage, unit, status, attempts, started, finished, seconds, host, device, round(peak_memory_mb) AS peak_mb
FROM stages WHERE run_id = ? ORDER BY started NULLS LAST, stage, unit
"""
ERRORS = """
SELECT stage, unit, error FROM stages WHERE run_id = ? AND error IS NOT NULL ORDER BY finished, stage, unit
"""
LAST_EPOCH = """
SELECT epoch, train_loss, train_acc, test_acc, asr, lr, seconds FROM epochs WHERE run_id = ? ORDER BY epoch DESC LIMIT 1
"""
FAILED_ESTIMATES = """
SELECT epoch, subset, quantity, protocol, error FROM estimates WHERE run_id = ? AND status = 'failed' ORDER BY ALL
"""
CRAFTED_ON_IT = "SELECT run_id FROM runs WHERE surrogate = ? ORDER BY run_id"


def print_logs(directory: Path, words: Sequence[str], console: Console) -> None:
    """Print what is known about the cell that the words mean, or the failed cells; works while a sweep runs.

    Raises:
        UserError: the words mean no cell, or several.
    """
    with db.read(directory) as con:
        if words:
            _print_run(con, directory, find_run(all_runs(con), words), console)
        else:
            _print_failed(con, directory, console)


def _print_failed(con: duckdb.DuckDBPyConnection, directory: Path, console: Console) -> None:
    runs = {run["run_id"]: run for run in all_runs(con)}
    failed = con.execute(FAILED).fetchall()
    if not failed:
        console.print(f"no cell has failed; all that is known about one: ibray logs {directory} CELL")
        return
    table = plain_table("run id", "cell", "failed", "error")
    for run_id, units, error in failed:
        table.add_row(run_id, describe_run(runs[run_id]), units, error)
    console.print(table)
    console.print(f"\nThe whole error, and all else about a cell: ibray logs {directory} {failed[0][0]}")


def _print_run(con: duckdb.DuckDBPyConnection, directory: Path, run: Run, console: Console) -> None:
    run_id = run["run_id"]
    console.print(f"run {run_id}: {describe_run(run)}")
    _print_facts(con, run, console)
    _print_rows(con, "Units of work, times in UTC", UNITS, run_id, console)
    _print_rows(con, "Last epoch written", LAST_EPOCH, run_id, console)
    _print_rows(con, "Estimates that failed", FAILED_ESTIMATES, run_id, console)
    for stage, unit, error in con.execute(ERRORS, [run_id]).fetchall():
        console.print(f"\nError of {stage}{f' of epoch {unit}' if unit else ''}:\n{error}", soft_wrap=True)
    console.print(f"\n{directory / LOG}, in local time:")
    records = list(records_about(directory / LOG, run_id, describe_run(run)))
    console.print("\n".join(records) or "nothing about this cell", soft_wrap=True)


def _print_facts(con: duckdb.DuckDBPyConnection, run: Run, console: Console) -> None:
    facts = {axis: run[axis] for axis in AXES} | {"surrogate": run["surrogate"]}
    if run["cell"]:
        settings = settings_of(run)
        facts |= {key: value for key, value in settings.items() if key.startswith(("attack.params.", "training."))}
    else:
        crafted = ", ".join(run_id for (run_id,) in con.execute(CRAFTED_ON_IT, [run["run_id"]]).fetchall())
        facts = {"the clean network of": crafted or "no run of this sweep"}
    table = plain_table("axis", "value")
    for name, value in facts.items():
        if value is not None:
            table.add_row(name, f"{value:g}" if isinstance(value, float) else str(value))
    console.print(table)


def _print_rows(con: duckdb.DuckDBPyConnection, title: str, query: str, run_id: str, console: Console) -> None:
    frame = con.execute(query, [run_id]).df()
    if len(frame):
        for name in ("started", "finished"):
            if name in frame:
                frame[name] = frame[name].dt.strftime("%Y-%m-%d %H:%M:%S")
        console.print(f"\n{title}:")
        console.print(frame_table(frame, digits=3))
