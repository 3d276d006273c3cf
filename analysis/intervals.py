"""Numbers that know what is uncertain about them, and what several seeds say together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of one run.

    low, high: proven bounds on the truth, both the value itself where nothing is proven. variance: of the value as an
    estimate from images, NaN where it is not known. Sums and differences take their parts as independent.
    """

    value: float
    low: float
    high: float
    variance: float = math.nan

    @classmethod
    def of(cls, value: float, variance: float = math.nan) -> Measure:
        """A number without bounds."""
        return cls(value, value, value, variance)

    def __add__(self, other: Measure) -> Measure:
        return Measure(
            self.value + other.value, self.low + other.low, self.high + other.high, self.variance + other.variance
        )

    def __neg__(self) -> Measure:
        return Measure(-self.value, -self.high, -self.low, self.variance)

    def __sub__(self, other: Measure) -> Measure:
        return self + -other

    def __abs__(self) -> Measure:
        low, high = sorted((abs(self.low), abs(self.high)))
        return Measure(abs(self.value), 0.0 if self.low <= 0 <= self.high else low, high, self.variance)

    def short_of(self, limit: float) -> Measure:
        """limit - self."""
        return Measure.of(limit, 0.0) - self


def mean(measures: Iterable[Measure]) -> Measure:
    """The average."""
    parts = list(measures)
    n = len(parts)
    return Measure(
        sum(each.value for each in parts) / n,
        sum(each.low for each in parts) / n,
        sum(each.high for each in parts) / n,
        sum(each.variance for each in parts) / n**2,
    )


def largest(measures: Iterable[Measure]) -> Measure:
    """The largest, with the variance of that one (which makes the value a little too large on average)."""
    parts = list(measures)
    top = max(parts, key=lambda each: each.value)
    return Measure(top.value, max(each.low for each in parts), max(each.high for each in parts), top.variance)


def smallest(measures: Iterable[Measure]) -> Measure:
    """The smallest."""
    return -largest(-each for each in measures)


@dataclass(frozen=True)
class Effect:
    """A number over seeds.

    n: seeds. unit: what it is in. interval: from a confidence, such as 0.95, both ends, NaN where there is no way to
    know. open: whether proven bounds leave its sign open while `value`, made of the estimates alone, has one.
    """

    value: float
    n: int
    unit: str
    interval: Callable[[float], tuple[float, float]]
    open: bool = False


def over_seeds(measures: Sequence[Measure], unit: str = "nats") -> Effect:
    """The mean over runs that differ in their seed.

    With two or more the interval is Student's t over them; with one it is normal, from the run's own variance. Proven
    bounds widen it: its low end is that of the mean of the low bounds, its high end that of the high ones.
    """

    def interval(confidence: float) -> tuple[float, float]:
        tail = (1 + confidence) / 2
        return tuple(
            sign * _less([sign * getattr(each, end) for each in measures], measures, tail)
            for sign, end in ((1, "low"), (-1, "high"))
        )

    value = float(np.mean([each.value for each in measures]))
    low, high = (float(np.mean([getattr(each, end) for each in measures])) for end in ("low", "high"))
    return Effect(value, len(measures), unit, interval, open=low < high and low <= 0 <= high)


def _less(values: Sequence[float], measures: Sequence[Measure], tail: float) -> float:
    """The mean of the values less the half width of its interval."""
    n, centre = len(values), float(np.mean(values))
    if not math.isfinite(centre):
        return centre
    if n > 1:
        return centre - _quantile(tail, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return centre - _quantile(tail) * math.sqrt(measures[0].variance)


@lru_cache
def _quantile(probability: float, degrees: int | None = None) -> float:
    """Of the normal distribution, or of Student's t."""
    return float(stats.norm.ppf(probability) if degrees is None else stats.t.ppf(probability, degrees))


def resampled(value: float, draws: np.ndarray, n: int, unit: str) -> Effect:
    """A statistic with its bootstrap: the interval is of percentiles."""
    known = draws[np.isfinite(draws)]

    def interval(confidence: float) -> tuple[float, float]:
        if not len(known):
            return math.nan, math.nan
        low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(low), float(high)

    return Effect(value, n, unit, interval)
