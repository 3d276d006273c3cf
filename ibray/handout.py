"""The tasks of one trial, from the time they are handed out until each of them is done or given up."""

from __future__ import annotations

from collections.abc import Sequence

from ibray.execute import Sink
from ibray.frontier import Frontier, give_up
from ibray.progress import Progress
from ibray.retention import Retention
from ibray.stages.base import News, Task


class Handout:
    """Mostly one task; several where a stage's units are done together. They end one by one, each for itself.

    Args:
        handle: as which the frontier knows the trial.
        tasks: as `Frontier.take_together` gave them.
    """

    def __init__(
        self, handle: object, tasks: Sequence[Task], frontier: Frontier, progress: Progress, retention: Retention
    ):
        self.tasks = tasks
        self._handle, self._frontier, self._progress, self._retention = handle, frontier, progress, retention
        self._left = set(range(len(tasks)))
        self._reasons: dict[int, str] = {}

    def news(self, position: int, news: News) -> None:
        """A task says how far it is, and what it has left on disk."""
        task = self.tasks[position]
        if news.artifact is not None:
            self._frontier.artifact_ready(task, news.artifact)
        self._progress.news(task, news)

    def done(self, position: int) -> None:
        """A task ended well; a trial that is tried again may say so once more."""
        if position not in self._left:
            return
        self._left.remove(position)
        self._frontier.ended((self._handle, position))
        self._progress.done(self.tasks[position])
        self._retention.done(self.tasks[position])

    def failed(self, position: int, reason: str) -> None:
        """An attempt at a task failed."""
        self._reasons[position] = reason

    def all_done(self) -> None:
        """The trial ended well, and so did all of its tasks."""
        for position in sorted(self._left):
            self.done(position)

    def give_up(self, reason: str, store: Sink, fail_fast: bool) -> None:
        """The trial failed for the last time: what is not done fails, for its own reason where one is known.

        With `fail_fast`, a task that one beside it brought to an end has not failed.
        """
        for position in sorted(self._left):
            self._frontier.ended((self._handle, position))
            if fail_fast and self._reasons and position not in self._reasons:
                continue
            give_up(self.tasks[position], self._reasons.get(position, reason), self._frontier, store, self._progress)
        self._left.clear()
