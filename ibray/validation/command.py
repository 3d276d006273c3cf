"""`ibray validate`: runs a suite, prints it, and writes the database and the chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ibray import __version__
from ibray.errors import UserError
from ibray.files import write_atomic
from ibray.validation import problems, show, store, suite
from ibray.validation.checks import Row
from ibray.validation.contenders import contenders
from ibray.validation.snapshots import check_snapshots

OUT = Path("results/validation")
MARKERS = ("<!-- validation -->", "<!-- /validation -->")


def validate(
    out: Path | None,
    console: Console,
    errors: Console,
    *,
    directory: Path | None = None,
    estimators: Sequence[str] = (),
    seeds: int | None = None,
    data: Path | None = None,
    data_dir: Path | None = None,
    markdown: Path | None = None,
    quick: bool = False,
) -> bool:
    """Whether every check held. Ctrl-C keeps and shows the rows that there are, then goes on as KeyboardInterrupt.

    directory: check the snapshots of this finished sweep instead of the problems. out: where the rows go; None for the
    sweep's directory, or results/validation. seeds: of the check `truth`, for all estimators. data: check one's own
    samples instead of the problems. data_dir: the dataset cache. markdown: a file that has the table of biases between
    the lines MARKERS, where it is replaced.
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

    if markdown and not all(marker in _text_of(markdown) for marker in MARKERS):
        raise UserError(f"--markdown {markdown}: there must be the lines {' and '.join(MARKERS)} in it")

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
    if markdown:
        before, _, rest = _text_of(markdown).partition(MARKERS[0])
        after = rest.partition(MARKERS[1])[2]
        table = f"{MARKERS[0]}\n{_about(name, rows)}\n\n{show.markdown(rows)}\n{MARKERS[1]}"
        write_atomic(markdown, f"{before}{table}{after}".encode())
    return not any(row.passed is False for row in rows)


def _text_of(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _about(name: str, rows: Sequence[Row]) -> str:
    failed = sum(row.passed is False for row in rows)
    held = sum(row.passed is True for row in rows)
    return f"Suite {name}, ibray {__version__}: {held} rows held, {failed} did not."


def _finish(out: Path, rows: Sequence[Row], known: Sequence[problems.Problem], name: str, console: Console) -> None:
    from analysis.validation import build_validation

    show.show(rows, console)
    database = store.save(out, rows, known, name)
    console.print(f"\n{database}\n{build_validation(out)}", soft_wrap=True)
