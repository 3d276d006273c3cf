"""Which tasks may start now: those whose needs are on disk, in the order of the plan."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ibray.room import Share
from ibray.stages import STAGES
from ibray.stages.base import Need, Task

if TYPE_CHECKING:
    from ibray.execute import Sink
    from ibray.progress import Progress


class Frontier:
    """The tasks of a plan on their way from waiting over ready and running to ended.

    What works on the artifacts of a training goes before the next training unless the caller asks for one, and
    otherwise the order of the plan holds: a snapshot is evaluated while the next network trains, there is no barrier.

    Args:
        tasks: of the plan, in its order.
        out: where artifacts lie.
        most_together: how many tasks of a stage `take_together` gives out at most; one where it is not named.
    """

    def __init__(self, tasks: Iterable[Task], out: Path, most_together: Mapping[str, int] | None = None):
        self._most_together = most_together or {}
        # By kind; those that were given out are skipped when they come up.
        self._ready: dict[Share, list[tuple[int, Task]]] = {"mi": [], "train": []}
        self._count: Counter[Share] = Counter()
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
        kind = STAGES[task.stage].share
        heapq.heappush(self._ready[kind], (position, task))
        self._count[kind] += 1
        if (alike := self._pack_of(task)) is not None:
            heapq.heappush(self._alike[alike], position)

    def _pack_of(self, task: Task) -> Hashable | None:
        """What the tasks of a pack have in common with this one; None for a task that starts alone."""
        together = STAGES[task.stage].together
        if together is None or self._most_together.get(task.stage, 1) == 1:
            return None
        key = together.key(task)
        return None if key is None else (task.stage, key)

    @property
    def ready(self) -> Mapping[Share, int]:
        """How many tasks of each kind may start."""
        return self._count

    def take(self, handle: object, kind: Share | None = None) -> Task | None:
        """The next task to start, of this kind or of any, known as `handle` from now on; None when none is ready."""
        kinds: list[Share] = [each for each in (("mi", "train") if kind is None else (kind,)) if self._count[each]]
        if not kinds:
            return None
        heap = self._ready[kinds[0]]
        while heap[0][0] in self._given:
            heapq.heappop(heap)
        position, task = heapq.heappop(heap)
        self._give(position, handle)
        return task

    def _give(self, position: int, handle: object) -> None:
        task = self._tasks[position]
        self._given.add(position)
        self._count[STAGES[task.stage].share] -= 1
        self.running[handle] = task

    def take_together(self, handle: object, kind: Share | None = None) -> list[Task]:
        """The next task to start and others to be done together with it, known as (handle, 0), (handle, 1), ...

        Empty when none is ready.
        """
        first = self.take((handle, 0), kind)
        if first is None:
            return []
        tasks = [first]
        alike = self._alike.get(self._pack_of(first), [])
        while alike and len(tasks) < self._most_together[first.stage]:
            position = heapq.heappop(alike)
            if position not in self._given:
                self._give(position, (handle, len(tasks)))
                tasks.append(self._tasks[position])
        return tasks

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
        return not self._count.total() and not self.running


def give_up(task: Task, reason: str, frontier: Frontier, store: Sink, progress: Progress) -> None:
    """Write down that a task failed for good, and that those that needed it cannot run."""
    store.lost(task.key, reason)
    progress.failed(task, reason)
    for lost in frontier.give_up_on(task):
        whose = "of the same run" if lost.cell.run_id == task.cell.run_id else f"({task.cell}) that it needs"
        store.fail(lost.key, f"not run: stage '{task.stage}' {whose} failed")
        progress.failed(lost, None)
