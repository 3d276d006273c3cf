"""The rows of a suite as a person reads them in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rich.console import Console

from ibray.terminal import plain_table
from ibray.validation.checks import Row
from ibray.validation.contenders import TRAINED

VERDICTS = {True: "", False: " !", None: " ~"}
FAILURES_SHOWN = 30


def show(rows: Sequence[Row], console: Console) -> None:
    """The values beside the truth, then each check's count per estimator, then what failed."""
    _truths([row for row in rows if row.check == "truth"], console)
    _counts(rows, console)
    failed = [row for row in rows if row.passed is False]
    if not failed:
        return
    console.print(f"\n{len(failed)} failed:")
    table = plain_table("check", "problem", "estimator", "seed", "nats", "truth", "error", "limit", "detail")
    for row in failed[:FAILURES_SHOWN]:
        numbers = (_number(value) for value in (row.nats, row.truth, row.error, row.limit))
        seed = "-" if row.seed is None else str(row.seed)
        table.add_row(row.check, row.problem, _name(row), seed, *numbers, row.detail or "")
    console.print(table)
    if len(failed) > FAILURES_SHOWN:
        console.print(f"and {len(failed) - FAILURES_SHOWN} more, in the database")


def markdown(rows: Sequence[Row]) -> str:
    """The values beside the truth as a table in Markdown: bias, mean over seeds, nats; "" where no truth is known."""
    truths = [row for row in rows if row.check == "truth"]
    names = list(dict.fromkeys(map(_name, truths)))
    order = [row.problem for row in sorted(truths, key=lambda row: row.protocol in TRAINED)]
    lines = [["problem", "truth", *names], ["---"] + ["---:"] * (1 + len(names))]
    for problem in dict.fromkeys(order):
        here = [row for row in truths if row.problem == problem]
        cells = []
        for name in names:
            mine = [row for row in here if _name(row) == name]
            errors = [row.error for row in mine if row.error is not None]
            cells.append(f"{fmean(errors):+.2f}{VERDICTS[mine[0].passed]}" if errors else "")
        lines.append([problem, _number(here[0].truth), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if truths else ""


def _truths(rows: Sequence[Row], console: Console) -> None:
    names = list(dict.fromkeys(map(_name, rows)))
    if not names:
        return
    console.print("Mean over seeds, nats.  !: beyond the limit  ~: measured, not judged")
    table = plain_table("problem", "truth", *names)
    for column in table.columns[1:]:
        column.justify = "right"
    # Untrained estimators are measured on every problem that others are measured on: their order has them all.
    order = [row.problem for row in sorted(rows, key=lambda row: row.protocol in TRAINED)]
    for problem in dict.fromkeys(order):
        here = [row for row in rows if row.problem == problem]
        cells = []
        for name in names:
            mine = [row for row in here if _name(row) == name]
            values = [row.nats for row in mine if row.nats is not None]
            value = f"{fmean(values):.3f}" if values else "none"
            cells.append(value + VERDICTS[mine[0].passed] if mine else "")
        table.add_row(problem, _number(here[0].truth), *cells)
    console.print(table)


def _counts(rows: Sequence[Row], console: Console) -> None:
    console.print()
    table = plain_table("check", "estimator", "passed", "failed", "informational", "largest |error|", "seconds")
    for column in table.columns[2:]:
        column.justify = "right"
    for check, name in dict.fromkeys((row.check, _name(row)) for row in rows):
        here = [row for row in rows if (row.check, _name(row)) == (check, name)]
        verdicts = [row.passed for row in here]
        errors = [abs(row.error) for row in here if row.error is not None]
        seconds = sum(row.seconds or 0 for row in here)
        counts = (str(verdicts.count(verdict)) for verdict in (True, False, None))
        table.add_row(check, name, *counts, f"{max(errors):.3f}" if errors else "-", f"{seconds:.1f}")
    console.print(table)


def _name(row: Row) -> str:
    return f"{row.estimator}/{row.protocol}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
