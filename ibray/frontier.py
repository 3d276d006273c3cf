"""Which tasks may start now: those whose needs are on disk, in the order of the plan, trainings last."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ibray.stages import STAGES
from ibray.stages.base import Need, Task

if TYPE_CHECKING:
    from ibray.execute import Sink
    from ibray.progress import Progress


class Frontier:
    """The tasks of a plan on their way from waiting over ready and running to ended.

    What works on the artifacts of a training goes before the next training, and otherwise the order of the plan holds:
    a snapshot is evaluated while the next network trains, first results come early, there is no barrier.

    Args:
        tasks: of the plan, in its order.
        out: where artifacts lie.
        most_together: how many tasks of a stage `take_together` gives out at most; one where it is not named.
    """

    def __init__(self, tasks: Iterable[Task], out: Path, most_together: Mapping[str, int] | None = None):
        self._most_together = most_together or {}
        self._ready: list[tuple[bool, int, Task]] = []  # those that were given out are skipped when they come up
        self._alike: dict[Hashable, list[int]] = defaultdict(list)  # the same tasks by what a pack has in common
        self._given: set[int] = set()
        self._tasks = list(tasks)
        self._unmet: dict[int, set[Need]] = {}  # position of a waiting task -> what it waits for
        self._waiting: dict[Need, list[int]] = defaultdict(list)
        self.running: dict[object, Task] = {}
        for position, task in enumerate(self._tasks):
            needs = set(STAGES[task.stage].needs(task))
            unmet = {need for need in needs if not STAGES[need.stage].has_artifact(out, need.run_id, need.unit)}
            if not unmet:
                self._push(position)
                continue
            self._unmet[position] = unmet
            for need in unmet:
                self._waiting[need].append(position)

    def _push(self, position: int) -> None:
        task = self._tasks[position]
        heapq.heappush(self._ready, (STAGES[task.stage].share == "train", position, task))
        if (alike := self._pack_of(task)) is not None:
            heapq.heappush(self._alike[alike], position)

    def _pack_of(self, task: Task) -> Hashable | None:
        """What the tasks of a pack have in common with this one; None for a task that starts alone."""
        together = STAGES[task.stage].together
        if together is None or self._most_together.get(task.stage, 1) == 1:
            return None
        key = together.key(task)
        return None if key is None else (task.stage, key)

    def take(self, handle: object) -> Task | None:
        """The next task to start, known as `handle` from now on; None when none is ready."""
        self._skip_given()
        if not self._ready:
            return None
        _, position, task = heapq.heappop(self._ready)
        self._given.add(position)
        self.running[handle] = task
        return task

    def take_together(self, handle: object) -> list[Task]:
        """The next task to start and others to be done together with it, known as (handle, 0), (handle, 1), ...

        Empty when none is ready.
        """
        first = self.take((handle, 0))
        if first is None:
            return []
        tasks = [first]
        alike = self._alike.get(self._pack_of(first), [])
        while alike and len(tasks) < self._most_together[first.stage]:
            position = heapq.heappop(alike)
            if position not in self._given:
                self._given.add(position)
                self.running[handle, len(tasks)] = self._tasks[position]
                tasks.append(self._tasks[position])
        return tasks

    def _skip_given(self) -> None:
        while self._ready and self._ready[0][1] in self._given:
            heapq.heappop(self._ready)

    def artifact_ready(self, task: Task, unit: int) -> None:
        """An artifact of this task's stage is on disk: the tasks that waited for it may start."""
        need = Need(task.cell.run_id, task.stage, unit)
        for position in self._waiting.pop(need, []):
            if position in self._unmet:
                self._unmet[position].discard(need)
                if not self._unmet[position]:
                    del self._unmet[position]
                    self._push(position)

    def ended(self, handle: object) -> Task:
        """A task is over, well or badly."""
        return self.running.pop(handle)

    def give_up_on(self, task: Task) -> list[Task]:
        """A task failed for good: returns the tasks that waited for it, or for one of these, and will not run."""
        needs = [need for need in self._waiting if need[:2] == (task.cell.run_id, task.stage)]
        positions = [position for need in needs for position in self._waiting.pop(need) if position in self._unmet]
        lost = []
        for position in sorted(set(positions)):
            del self._unmet[position]
            waiting = self._tasks[position]
            lost += [waiting, *self.give_up_on(waiting)]
        return lost

    @property
    def is_empty(self) -> bool:
        """Nothing is ready or running; what still waits can never start."""
        self._skip_given()
        return not self._ready and not self.running


def give_up(task: Task, reason: str, frontier: Frontier, store: Sink, progress: Progress) -> None:
    """Write down that a task failed for good, and that those that needed it cannot run."""
    store.lost(task.key, reason)
    progress.failed(task, reason)
    for lost in frontier.give_up_on(task):
        whose = "of the same run" if lost.cell.run_id == task.cell.run_id else f"({task.cell}) that it needs"
        store.fail(lost.key, f"not run: stage '{task.stage}' {whose} failed")
        progress.failed(lost, None)
