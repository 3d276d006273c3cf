"""`ibray doctor`: whether this machine, the output directory and a cluster are fit for a sweep; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from analysis.db import AnalysisError
from ibray.check import Check
from ibray.check_datasets import check_datasets
from ibray.check_machine import check_clock, check_cores_and_memory, check_gpus
from ibray.check_output import check_disk, check_writable, newest_row
from ibray.check_packages import check_packages
from ibray.errors import UserError
from ibray.spec import SweepSpec, load_spec
from ibray.store import now
from ibray.terminal import plain_table

RESULTS = Path("results")


def examine(
    file: Path | None,
    assignments: list[str] | None,
    out: Path | None,
    address: str | None,
    data_dir: Path | None,
    console: Console,
) -> bool:
    """Print a line for every check; returns whether none failed.

    Raises:
        UserError: the sweep file cannot be read, or what is asked needs one.
    """
    if file is None and (address or assignments):
        raise UserError("--address and --set are about the trials of a sweep FILE: name one")
    spec = load_spec(file, assignments) if file else None
    out = out or (RESULTS / spec.name if spec else RESULTS)
    checks = []
    table = plain_table("check", "result", "found", "what to do")
    for check in _checks(spec, out, address, data_dir):
        checks.append(check)
        table.add_row(check.name, check.result, check.found, check.advice)
    console.print(table)
    failed, warnings = (sum(check.result == result for check in checks) for result in ("failed", "warning"))
    console.print(f"\n{len(checks)} checks: {failed} failed, {warnings} warnings")
    return not failed


def _checks(spec: SweepSpec | None, out: Path, address: str | None, data_dir: Path | None) -> Iterator[Check]:
    yield from check_packages()
    yield check_gpus()
    yield from check_cores_and_memory(spec, has_cluster=address is not None)
    datasets = list(check_datasets(spec, data_dir))
    yield from datasets
    writable = check_writable(out, spec)
    yield writable
    if writable.result == "ok":
        if all(check.result != "failed" for check in datasets):  # what snapshots take depends on their images
            yield check_disk(out, spec, data_dir)
        yield from _database_and_clock(out)
    if spec and address:
        from ibray.check_cluster import check_cluster  # a second to import

        yield from check_cluster(spec, address)
    yield Check("browser", "ok", "no chromium is needed: figures and report are made without a browser")


def _database_and_clock(out: Path) -> Iterator[Check]:
    newest = None
    try:
        newest = newest_row(out)
    except AnalysisError as error:
        yield Check("database", "warning", str(error))
    yield check_clock(out, newest, now())
