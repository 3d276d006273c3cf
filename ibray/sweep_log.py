"""The records of logs/sweep.log that are about one run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

STARTS_A_RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # of Ray's, in the names of its processes
STARTED_TRIAL = re.compile(r" started: \S+ as trial (\S+): ")


def records_about(log: Path, run_id: str, cell: str) -> Iterator[str]:
    """Records that name the run, its cell by its words, or a trial of it, tracebacks included.

    The words leave out what rarely differs (target class, parameters, training): records of a cell that differs in
    nothing else may be among those that do not name a run.
    """
    about = re.compile(rf"{re.escape(cell)}(?!\w)(?! \()")  # a record that names its run ends with it in brackets
    trials: set[str] = set()
    for record in _records(log):
        if run_id in record and (trial := STARTED_TRIAL.search(record)):
            trials.add(trial[1])
        if run_id in record or about.search(record) or any(trial in record for trial in trials):
            yield record


def _records(log: Path) -> Iterable[str]:
    """A line with a time, and the lines below it up to the next one."""
    if not log.exists():
        return
    record: list[str] = []
    with log.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if STARTS_A_RECORD.match(line) and record:
                yield "".join(record).rstrip()
                record = []
            record.append(COLOUR.sub("", line))
    if record:
        yield "".join(record).rstrip()
