"""How fast a sweep goes and what is left of it, with an interval: worked out from the units that are finished.

A unit that is left is expected to take the mean of its stage's finished units; one that is running, what is missing
of that mean. Their sum is divided by the pace: the seconds that trials have worked, over the seconds that the sweep
has run. The interval is a 95% prediction interval of the sum: the spread of the durations of every stage with units
left, once for each of them (their own luck) and once for all together (the mean is known from few), by Student's t
with the degrees of freedom of Welch and Satterthwaite. It takes what is left to be like what is finished, and the pace
to stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from scipy import stats

FEWEST_UNITS = 3  # finished ones of a stage, for its spread to mean anything
NEGLIGIBLE = 0.05  # the share of the work left below which a stage may have fewer: its spread is taken for its mean
COVERAGE = 0.95


@dataclass(frozen=True)
class StagePace:
    """The units of one stage: what the finished ones took, and what is left.

    Attributes:
        done: finished units whose duration is known.
        mean: of their seconds; None when none is finished.
        spread: standard deviation of their seconds; None below two.
        worked: seconds of the units that this sweep has finished.
        queued: units that have not started.
        running: for every running unit, the seconds since it started.
    """

    done: int
    mean: float | None
    spread: float | None
    worked: float
    queued: int
    running: Sequence[float] = field(default=())

    @property
    def left(self) -> int:
        return self.queued + len(self.running)


@dataclass(frozen=True)
class TimeLeft:
    """Seconds until the sweep ends, and where that is known well enough, between which two numbers they lie."""

    seconds: float
    interval: tuple[float, float] | None


def time_left(stages: Sequence[StagePace], elapsed: float) -> TimeLeft | None:
    """What is left of a sweep that has run for `elapsed` seconds; None while nothing is known about any unit."""
    known = [stage.mean for stage in stages if stage.mean is not None]
    worked = sum(stage.worked + sum(stage.running) for stage in stages)
    unfinished = [stage for stage in stages if stage.left]
    if not known or worked <= 0 or elapsed <= 0:
        return None
    elsewhere = sum(known) / len(known)  # a stage of which nothing is finished yet
    work_of = [_work_left(stage, elsewhere if stage.mean is None else stage.mean) for stage in unfinished]
    work = sum(work_of)
    # No more trials side by side than there are units left: the last one is alone, however fast the sweep was.
    pace = min(worked / elapsed, max(1, sum(stage.left for stage in unfinished)))
    half_width = _half_width(unfinished, [part / work if work else 0 for part in work_of])
    if half_width is None:
        return TimeLeft(work / pace, None)
    return TimeLeft(work / pace, (max(0.0, work - half_width) / pace, (work + half_width) / pace))


def _work_left(stage: StagePace, mean: float) -> float:
    return stage.queued * mean + sum(max(0.0, mean - seconds) for seconds in stage.running)


def _half_width(stages: Sequence[StagePace], shares: Sequence[float]) -> float | None:
    """Of the prediction interval of the work left, in seconds; None where a stage has too few finished units."""
    variances, degrees = [], []
    for stage, share in zip(stages, shares, strict=True):
        enough = stage.done >= FEWEST_UNITS
        if stage.mean is None or not (enough or share <= NEGLIGIBLE):
            return None
        spread = stage.spread if enough else stage.mean
        variances.append(spread**2 * (stage.left + stage.left**2 / stage.done))
        degrees.append(max(1, stage.done - 1))
    variance = sum(variances)
    if not variance:
        return 0.0
    freedom = variance**2 / sum(each**2 / count for each, count in zip(variances, degrees, strict=True))
    return float(stats.t.ppf((1 + COVERAGE) / 2, freedom)) * math.sqrt(variance)
