"""`ibray validate`: runs a suite, prints it, and writes the database and the chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ibray.errors import UserError
from ibray.validation import problems, store, suite
from ibray.validation.checks import Row
from ibray.validation.contenders import contenders
from ibray.validation.show import show
from ibray.validation.snapshots import check_snapshots

OUT = Path("results/validation")


def validate(
    directory: Path | None,
    out: Path | None,
    estimators: Sequence[str],
    seeds: int | None,
    data: Path | None,
    data_dir: Path | None,
    quick: bool,
    console: Console,
    errors: Console,
) -> bool:
    """Whether every check held. Ctrl-C keeps and shows the rows that there are, then goes on as KeyboardInterrupt.

    directory: check the snapshots of this finished sweep instead of the problems. out: where the rows go; None for the
    sweep's directory, or results/validation. seeds: of the check `truth`, for all estimators. data: check one's own
    samples instead of the problems. data_dir: the dataset cache.
    Raises UserError.
    """
    out = out or directory or OUT
    chosen = contenders(estimators, quick=quick)
    if directory and (estimators or data or seeds is not None):
        raise UserError(f"--estimator, --seeds and --data are not for the snapshots of a sweep ({directory})")
    if seeds is not None and seeds < 1:
        raise UserError(f"--seeds must be at least 1, not {seeds}")
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: is a file; choose a directory")

    def report(text: str) -> None:
        if errors.is_terminal:
            errors.print(text, end="\x1b[K\r")

    if directory:
        known, name = [], "snapshots"
        coming = check_snapshots(directory, data_dir, quick, report)
    elif data:
        problem, n = suite.own_data(data)
        known, name = [problem], "data"
        coming = suite.run_on(problem, chosen, n, report)
    else:
        plan = suite.quick_plan() if quick else suite.full_plan()
        if seeds is not None:
            plan = replace(plan, seeds=seeds, trained_seeds=seeds)
        everything = (*plan.problems, *plan.probes, *plan.covered, *problems.chain())
        known, name = list({each.name: each for each in everything}.values()), "quick" if quick else "full"
        coming = suite.run(plan, chosen, report)
    rows: list[Row] = []
    try:
        rows.extend(coming)
    finally:
        report("")
        if rows:
            _finish(out, rows, known, name, console)
    return not any(row.passed is False for row in rows)


def _finish(out: Path, rows: Sequence[Row], known: Sequence[problems.Problem], name: str, console: Console) -> None:
    from analysis.validation import build_validation

    show(rows, console)
    database = store.save(out, rows, known, name)
    console.print(f"\n{database}\n{build_validation(out)}", soft_wrap=True)
