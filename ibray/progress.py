"""What a person sees while a sweep runs: a bar per stage with the time left; into a file or a pipe, failures only."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from ibray.stages import STAGES
from ibray.stages.base import News, Task


class Progress:
    """Bars on a terminal, one per stage that has work; a context manager."""

    def __init__(self, console: Console, tasks: Iterable[Task]):
        self.console = console
        self.failures: dict[Any, str | None] = {}
        self.done_tasks = 0
        self.last_news = time.monotonic()  # when an epoch was written or a task ended
        self._steps: dict[Any, int] = {}
        self._bars = Bars(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar_of = {}
        tasks = list(tasks)
        for name, stage in STAGES.items():
            total = sum(stage.steps(task.cell) for task in tasks if task.stage == name)
            if total:
                self._bar_of[name] = self._bars.add_task(name, total=total, unit=stage.step_name)

    def __enter__(self) -> Progress:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def news(self, task: Task, news: News) -> None:
        """A task says how many of its steps are done; a retried task may say less than before."""
        self._advance_to(task, max(news.steps, self._steps.get(task.key, 0)))

    def done(self, task: Task) -> None:
        """A task ended well."""
        self.done_tasks += 1
        logging.getLogger(__name__).info("done: %s: %s", _unit(task), _named(task))
        self._advance_to(task, STAGES[task.stage].steps(task.cell))

    def failed(self, task: Task, error: str | None) -> None:
        """A task failed for good; None as the error of one that only waited for another that failed."""
        self.failures[task.key] = error
        self._advance_to(task, STAGES[task.stage].steps(task.cell))
        if error:
            reason = error.splitlines()[0]
            logging.getLogger(__name__).error("failed: %s: %s: %s", _unit(task), _named(task), reason)
            self.console.print(f"failed: {_unit(task)}: {task.cell}: {reason}", markup=False)

    def _advance_to(self, task: Task, steps: int) -> None:
        self.last_news = time.monotonic()
        self._bars.advance(self._bar_of[task.stage], steps - self._steps.get(task.key, 0))
        self._steps[task.key] = steps


def _named(task: Task) -> str:
    """The cell in words, and the run by which `ibray logs` finds the line."""
    return f"{task.cell} ({task.cell.run_id})"


def _unit(task: Task) -> str:
    return f"{task.stage} of epoch {task.unit}" if task.unit else task.stage
