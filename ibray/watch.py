"""`ibray report --watch`: the report, built anew while a sweep runs."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from analysis.report import build_report
from ibray.workspace import is_locked


def watch_report(directory: Path, seconds: int, console: Console) -> None:
    """Build the report every so many seconds for as long as a sweep runs in the directory; the page reloads itself.

    The last build, which does not reload, is the caller's. Ctrl-C ends the watching, not the sweep.
    """
    built = False
    try:
        while is_locked(directory):
            page = build_report(directory, reload_seconds=seconds)
            if not built:
                console.print(f"{page} is built every {seconds} s while the sweep runs; Ctrl-C ends the watching alone")
                built = True
            time.sleep(seconds)
    except KeyboardInterrupt:
        console.print("Stopped watching.")
    else:
        if not built:
            console.print(f"no sweep is running in {directory}: building its report once")
