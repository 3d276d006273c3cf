"""Which snapshots stay when everything that was asked of a run is done: all, the last epoch's, or none.

What the run's data is rebuilt from always stays. A sweep that later asks for more trains such a run again, to the same
weights on the same machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ibray.errors import UserError
from ibray.snapshots import Snapshots
from ibray.stages.base import Task

KEEP = ("all", "last", "none")


def check_keep(keep: str) -> None:
    """Raises UserError for a value that is not one of KEEP."""
    if keep not in KEEP:
        raise UserError(f"--keep {keep}: choose one of {', '.join(KEEP)}")


class Retention:
    """Removes a run's snapshots as soon as its last task is done.

    Args:
        artifacts: where the snapshots lie.
        keep: one of KEEP.
        tasks: all of the sweep's.
        missing: those to run. Runs of which nothing is missing are dealt with at once.
    """

    def __init__(self, artifacts: Path, keep: str, tasks: Iterable[Task], missing: Iterable[Task]):
        self._artifacts, self._keep = artifacts, keep
        self._left = Counter(task.cell.run_id for task in missing)
        # A surrogate's weights are what other runs craft their images with: these stay.
        self._epochs = {task.cell.run_id: task.cell.training.epochs for task in tasks if task.stage == "train"}
        for run_id in self._epochs.keys() - self._left.keys():
            self._remove(run_id)

    def done(self, task: Task) -> None:
        """A task is done; its rows are with the writer."""
        run_id = task.cell.run_id
        self._left[run_id] -= 1
        if not self._left[run_id] and run_id in self._epochs:
            self._remove(run_id)

    def _remove(self, run_id: str) -> None:
        if self._keep == "all":
            return
        snapshots = Snapshots(self._artifacts, run_id)
        for epoch in snapshots.epochs():
            if self._keep == "none" or epoch != self._epochs[run_id]:
                snapshots.remove(epoch)
