"""What is handed to Tune next, a training or work on snapshots, and how much at once.

Tune's own queue knows no order, so what waits in it is kept short; but what fits is handed out at once, so that
processes start side by side: Tune gives the process of a trial that ends to one that waits, and breaks off the start
that this one had asked for, so that places which are not filled in the beginning may stay empty.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

Share = Literal["train", "mi"]
Resources = Mapping[str, float]
LOOK_AGAIN_SECONDS = 1.0


class Room:
    """Which kind of trial to hand out next.

    Trainings keep the places that they fit into, and work on snapshots fills what is left beside them. Only when enough
    of that has gathered to fill the place of a training do the next trainings wait for it: first results come early
    all the same. Small trials that were always let in before a large one would keep its place half empty for ever.

    Args:
        there: asked for what all machines have together, such as {"CPU": 16, "GPU": 2}; they may become more or fewer.
        needs: what a trial of each kind reserves.
        waiting: how many trials of a kind may wait.
    """

    def __init__(self, there: Callable[[], Resources], needs: Mapping[Share, Resources], waiting: int):
        self._there, self._needs, self._waiting = there, needs, waiting
        self._known: Resources = {}
        self._looked = -LOOK_AGAIN_SECONDS
        shares = [amount / needs["mi"][kind] for kind, amount in needs["train"].items() if needs["mi"].get(kind)]
        self._gathered = max(1, int(max(shares, default=1)))  # as many fill the place of a training

    def next(self, out: Iterable[Share], ready: Mapping[Share, int]) -> Share | None:
        """The kind of trial to hand out, None for none now.

        Args:
            out: the kinds of those that were handed out and have not ended, in that order.
            ready: how many of each kind may start.
        """
        if time.monotonic() - self._looked > LOOK_AGAIN_SECONDS:
            self._known, self._looked = self._there(), time.monotonic()
        free = dict(self._known)
        running: Counter[Share] = Counter()
        waiting: Counter[Share] = Counter()
        for kind in out:
            if _fits(self._needs[kind], free):
                running[kind] += 1
                free = _without(free, self._needs[kind])
            else:
                waiting[kind] += 1
        # A training that waits for what was small trials' place gets it; one that waits for another training does not
        # keep small ones out of what is left beside them.
        is_due = waiting["train"] > 0 and running["train"] < self._places()
        if is_due:
            free = _without(free, self._needs["train"])
        at_most = 1 if is_due or ready["train"] else self._waiting
        may = {
            "train": waiting["train"] < self._waiting and ready["mi"] < self._gathered,
            "mi": _fits(self._needs["mi"], free) or (not is_due and waiting["mi"] < at_most),
        }
        order: tuple[Share, Share] = ("mi", "train") if ready["mi"] >= self._gathered else ("train", "mi")
        return next((kind for kind in order if ready[kind] and may[kind]), None)

    def _places(self) -> int:
        """How many trainings fit at once: fractions of a GPU that add up across GPUs are no place for one."""
        needs = dict(self._needs["train"])
        share = needs.get("GPU", 0)
        if 0 < share < 1:
            needs["GPU"] = 1 / int(1 / share)
        return _times(needs, self._known)


def _fits(needs: Resources, free: Resources) -> bool:
    return all(amount <= free.get(kind, 0) + 1e-9 for kind, amount in needs.items())


def _without(free: Resources, needs: Resources) -> dict[str, float]:
    return {**free, **{kind: free.get(kind, 0) - amount for kind, amount in needs.items()}}


def _times(needs: Resources, there: Resources) -> int:
    """How often a trial fits, at least once."""
    return max(1, min((int(there.get(kind, 0) / amount + 1e-9) for kind, amount in needs.items() if amount), default=1))
