"""Which tasks may start now: those whose needs are on disk, in the order of the plan, later stages first."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ibray.stages import STAGES
from ibray.stages.base import Task

if TYPE_CHECKING:
    from ibray.execute import Sink
    from ibray.progress import Progress

Need = tuple[str, str, int]  # run id, stage, unit


class Frontier:
    """The tasks of a plan on their way from waiting over ready and running to ended.

    A task of a later stage goes before one of an earlier stage: a snapshot is evaluated while the next network
    trains, first results come early, and there is no barrier between the stages.
    """

    def __init__(self, tasks: Iterable[Task], out: Path):
        self._rank = {name: -position for position, name in enumerate(STAGES)}
        self._ready: list[tuple[int, int, Task]] = []
        self._waiting: dict[Need, list[tuple[int, Task]]] = defaultdict(list)
        self.running: dict[object, Task] = {}
        for position, task in enumerate(tasks):
            need = STAGES[task.stage].needs(task.unit)
            if need is None or STAGES[need[0]].has_artifact(out, task.cell.run_id, need[1]):
                self._push(position, task)
            else:
                self._waiting[task.cell.run_id, *need].append((position, task))

    def _push(self, position: int, task: Task) -> None:
        heapq.heappush(self._ready, (self._rank[task.stage], position, task))

    def take(self, handle: object) -> Task | None:
        """The next task to start, known as `handle` from now on; None when none is ready."""
        if not self._ready:
            return None
        task = self.running[handle] = heapq.heappop(self._ready)[2]
        return task

    def artifact_ready(self, task: Task, unit: int) -> None:
        """An artifact of this task's stage is on disk: the tasks that waited for it may start."""
        for position, waiting in self._waiting.pop((task.cell.run_id, task.stage, unit), []):
            self._push(position, waiting)

    def ended(self, handle: object) -> Task:
        """A task is over, well or badly."""
        return self.running.pop(handle)

    def give_up_on(self, task: Task) -> list[Task]:
        """A task failed for good: returns the tasks that waited for it and will not run."""
        lost = [need for need in self._waiting if need[:2] == (task.cell.run_id, task.stage)]
        return [waiting for need in lost for _, waiting in self._waiting.pop(need)]

    @property
    def is_empty(self) -> bool:
        """Nothing is ready or running; what still waits can never start."""
        return not self._ready and not self.running


def give_up(task: Task, reason: str, frontier: Frontier, store: Sink, progress: Progress) -> None:
    """Write down that a task failed for good, and that those that needed it cannot run."""
    store.lost(task.key, reason)
    progress.failed(task, reason)
    for lost in frontier.give_up_on(task):
        store.fail(lost.key, f"not run: stage '{task.stage}' of the same run failed")
        progress.failed(lost, None)
