"""`ibray status --watch`: the status, drawn anew until the sweep ends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from ibray.machines import Use, use_of_cluster, use_of_this_machine
from ibray.status import Status, read_status
from ibray.workspace import DATABASE, is_locked

PATIENCE = 60.0  # seconds for a writer to let go of the database: a view that goes on can wait


def watch_status(
    directory: Path, seconds: float, console: Console, *, as_json: bool = False, address: str | None = None
) -> None:
    """Show the status every so many seconds for as long as a sweep runs in the directory, and once when it has ended.

    On a terminal it is redrawn in place; elsewhere it is printed again, as JSON one line each time. Ctrl-C ends the
    watching, not the sweep.

    Args:
        directory: the sweep's output directory.
        seconds: between two looks.
        console: where it goes.
        as_json: print JSON, without the machines.
        address: a Ray cluster whose nodes are shown; None for this machine alone.
    """
    while is_locked(directory) and not (directory / DATABASE).exists():  # it has only just begun
        time.sleep(0.1)
    machines = _machines(address)
    try:
        if as_json:
            _follow(directory, seconds, lambda status: print(json.dumps(status.as_json()), flush=True))
        elif console.is_terminal:
            with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
                _follow(directory, seconds, lambda status: live.update(status.rendered(machines()), refresh=True))
        else:
            _follow(directory, seconds, lambda status: console.print(status.rendered(machines())))
    except KeyboardInterrupt:
        console.print("Stopped watching; the sweep goes on.")


def _follow(directory: Path, seconds: float, show: Callable[[Status], None]) -> None:
    while True:
        status = read_status(directory, patience=PATIENCE)
        show(status)
        if not status.is_running:
            return
        time.sleep(seconds)


def _machines(address: str | None) -> Callable[[], Sequence[Use]]:
    if address is None:
        return lambda: [use_of_this_machine()]
    from ibray.ray_runner import start_ray  # a second to import

    start_ray(address)
    return use_of_cluster
