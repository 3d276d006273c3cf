"""How much is handed to Tune at once: what fits into the machines, and a little that waits for the next free place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

Resources = Mapping[str, float]
LOOK_AGAIN_SECONDS = 1.0


class Room:
    """Whether another trial may be handed out.

    All places are filled at once, so that their processes start side by side: Tune gives the process of a trial that
    ends to one that waits, and breaks off the start that this one had asked for, so that places which are not filled
    in the beginning may stay empty. Beyond that few wait, as Tune's own queue knows no order of stages: the estimates
    of a snapshot are to go before the next training.

    Args:
        there: asked for what all machines have together, such as {"CPU": 16, "GPU": 2}; they may become more or fewer.
        needs: stage -> what a trial of it reserves.
        waiting: how many trials may wait.
    """

    def __init__(self, there: Callable[[], Resources], needs: Mapping[str, Resources], waiting: int):
        self._there, self._needs, self._waiting = there, needs, waiting
        self._known: Resources = {}
        self._looked = -LOOK_AGAIN_SECONDS

    def is_left(self, stages: Iterable[str]) -> bool:
        """Whether there is room beside the trials that were handed out; `stages` names the stage of each."""
        if time.monotonic() - self._looked > LOOK_AGAIN_SECONDS:
            self._known, self._looked = self._there(), time.monotonic()
        free = dict(self._known)
        waiting = 0
        for stage in stages:
            needs = self._needs[stage]
            if all(amount <= free.get(kind, 0) for kind, amount in needs.items()):
                for kind, amount in needs.items():
                    free[kind] -= amount
            else:
                waiting += 1
        return waiting < self._waiting
