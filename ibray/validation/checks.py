"""The checks: each takes measurements, or what to measure, and returns rows that say whether the estimator held.

A row with passed None is informational: a value to look at, where no limit applies or the estimator is not judged.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ibray.mi import EstimationError, MIEstimate
from ibray.mi.discrete import entropy, fano_bound
from ibray.seeds import generator
from ibray.validation.contenders import Contender
from ibray.validation.problems import Problem, Sample

# The bias allowed, in nats: (truth up to, limit). Beyond the last it is informational; below 0.5 a fifth of the truth.
BIAS_LIMITS = ((2.0, 0.1), (5.0, 0.25))
SMALL_TRUTH, SMALL_SHARE = 0.5, 0.2

NULL_LIMIT = 0.05
RESCALING = 1000.0, 0.01
RESCALING_LIMIT = 0.05
SUBSAMPLE_LIMIT = 0.1

ERRORS = 3.0
"""Standard errors that a value may lie beyond its limit. With 2 one row in 20 would fail by chance, and there are
hundreds of them; 3 leave one in 370."""

LEAST_COVERAGE = 0.9
"""Of 95% intervals. Of 50 seeds, 45 or more are expected in 96 of 100 tries. An interval that takes in the gap between
two bounds holds the truth more often than that, which is no fault."""


@dataclass(frozen=True)
class Row:
    """One line of the table `validation`; schema.sql of this package says what the columns are."""

    check: str
    problem: str
    dims: int
    n: int
    truth: float | None
    estimator: str
    protocol: str
    seed: int | None
    nats: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    lower_bound: float | None = None
    upper_bound: float | None = None
    standard_error: float | None = None
    error: float | None = None
    limit: float | None = None
    passed: bool | None = None
    seconds: float | None = None
    detail: str | None = None
    run_id: str | None = None
    epoch: int | None = None
    subset: str | None = None
    quantity: str | None = None


@dataclass(frozen=True)
class Measurement:
    """One estimate of one sample, or why there is none."""

    problem: Problem
    contender: Contender
    n: int
    seed: int
    estimate: MIEstimate | None
    seconds: float
    failure: str | None = None

    @property
    def error(self) -> float | None:
        """The estimate less the truth, nats."""
        if self.estimate is None or self.problem.truth is None:
            return None
        return self.estimate.nats - self.problem.truth

    def row(self, check: str, passed: bool | None, **more: object) -> Row:
        """Its line: informational where the contender is not judged, failed where there is no estimate."""
        excuse, e = self.contender.not_judged_on(self.problem), self.estimate
        detail = [str(more.pop("detail", None) or ""), f"informational: {excuse}" if excuse else "", self.failure or ""]
        values = {}
        if e is not None:
            names = ("nats", "ci_low", "ci_high", "lower_bound", "upper_bound")
            values = {name: getattr(e, name) for name in names}
            values |= {"standard_error": standard_error(e), "error": self.error}
        return Row(
            check=check,
            problem=self.problem.name,
            dims=self.problem.dims,
            n=self.n,
            estimator=self.contender.estimator,
            protocol=self.contender.protocol,
            passed=None if excuse else (passed if e is not None else False),
            detail="; ".join(filter(None, detail)) or None,
            **({"truth": self.problem.truth, "seed": self.seed, "seconds": self.seconds} | values | more),
        )


def standard_error(estimate: MIEstimate) -> float:
    """In nats: what the estimator says, or a quarter of its interval's width; 0 where it gives neither."""
    if estimate.standard_error is not None:
        return estimate.standard_error
    if estimate.ci_low is None or estimate.ci_high is None:
        return 0.0
    return (estimate.ci_high - estimate.ci_low) / (2 * 1.96)


def measure(problem: Problem, contender: Contender, n: int, seed: int, sample: Sample | None = None) -> Measurement:
    """One estimate; sample: another than the problem's own n pairs of that seed."""
    sample = sample or problem.draw(n, seed)
    started = time.perf_counter()
    try:
        estimate, failure = contender.run(sample, seed), None
    except EstimationError as error:
        estimate, failure = None, f"no estimate: {error}"
    seconds = time.perf_counter() - started
    return Measurement(problem, contender, len(sample), seed, estimate, seconds, failure)


def bias_limit(truth: float) -> float | None:
    """The bias allowed at this truth, nats; None where none is set."""
    if truth < SMALL_TRUTH - 1e-9:
        return SMALL_SHARE * truth
    return next((limit for most, limit in BIAS_LIMITS if truth <= most + 1e-9), None)


def truth(measured: Sequence[Measurement]) -> list[Row]:
    """Is the mean over seeds within its limit of the truth? All seeds of one problem and contender, one verdict."""
    limit = bias_limit(measured[0].problem.truth)
    errors = [m.error for m in measured if m.estimate is not None]
    bias = sum(errors) / len(errors) if errors else math.nan
    passed = None if limit is None else abs(bias) <= limit
    detail = f"bias {bias:+.3f} over {len(errors)} seed{'s' * (len(errors) != 1)}"
    return [m.row("truth", passed, limit=limit, detail=detail) for m in measured]


def bracket(measured: Iterable[Measurement]) -> list[Row]:
    """Is the truth between the bounds, each given ERRORS of its standard errors? Only where there is a bound."""
    rows = []
    for m in measured:
        e, true = m.estimate, m.problem.truth
        if e is None or (e.lower_bound is None and e.upper_bound is None):
            continue
        room = ERRORS * standard_error(e)
        above = e.upper_bound is not None and e.ci_high is not None
        upper_room = max(room, ERRORS * (e.ci_high - e.upper_bound) / 1.96) if above else room
        held = (e.lower_bound is None or e.lower_bound - room <= true) and (
            e.upper_bound is None or true <= e.upper_bound + upper_room
        )
        gap = f"gap {e.upper_bound - e.lower_bound:.3f}" if None not in (e.lower_bound, e.upper_bound) else "one bound"
        rows.append(m.row("bracket", held, detail=gap))
    return rows


def null(problem: Problem, contender: Contender, n: int, seed: int) -> list[Row]:
    """Permuted pairing, truth 0: no more than NULL_LIMIT nats may be read."""
    sample = problem.draw(n, seed).permuted(generator(seed, "null"))
    m = measure(problem, contender, n, seed, sample)
    nats = m.estimate.nats if m.estimate else math.nan
    return [m.row("null", nats <= NULL_LIMIT, truth=0.0, error=nats, limit=NULL_LIMIT)]


def rescaling(problem: Problem, contender: Contender, n: int, seed: int) -> list[Row]:
    """x times 1000 and y times 0.01 have the same information: `error` is how far the value moves."""
    a, b = RESCALING
    before = measure(problem, contender, n, seed)
    after = measure(problem, contender, n, seed, problem.draw(n, seed).scaled(a, b))
    moved = _difference(after, before)
    detail = f"x times {a:g}, y times {b:g}"
    return [after.row("rescaling", abs(moved) < RESCALING_LIMIT, error=moved, limit=RESCALING_LIMIT, detail=detail)]


def subsample(problem: Problem, contender: Contender, n: int, seed: int) -> list[Row]:
    """Half of the samples read the same, within ERRORS combined standard errors or SUBSAMPLE_LIMIT; `error` moves."""
    whole = problem.draw(n, seed)
    before = measure(problem, contender, n, seed, whole)
    after = measure(problem, contender, n, seed, whole.first(n // 2))
    moved, limit = _difference(after, before), SUBSAMPLE_LIMIT
    if before.estimate and after.estimate:
        limit = max(limit, ERRORS * math.hypot(standard_error(before.estimate), standard_error(after.estimate)))
    detail = f"{len(whole) // 2} of {len(whole)} samples"
    return [after.row("subsample", abs(moved) <= limit, error=moved, limit=limit, detail=detail)]


def fano(problem: Problem, contender: Contender, n: int, seed: int, wrong: float = 0.2, classes: int = 10) -> list[Row]:
    """I(Y; Yhat) of a classifier that errs on `wrong` is at least Fano's bound (paper.md: 1.326 nats).

    Judged for sums over counts only: what is trained may be lower by its bias, and this classifier is at the bound.
    """
    m = measure(problem, contender, n, seed)
    sample = problem.draw(n, seed)
    bound = fano_bound(entropy(sample.x.argmax(1)), wrong, classes)
    passed = None
    if m.estimate and not contender.trained:
        passed = m.estimate.nats >= bound - ERRORS * standard_error(m.estimate)
    return [m.row("fano", passed, limit=bound, detail=f"at least {bound:.4f} nats at error {wrong:g}")]


def data_processing(chain: Sequence[Problem], contender: Contender, n: int, seed: int) -> list[Row]:
    """X -> T -> Yhat: I(X;Yhat) is at most I(X;T) and at most I(T;Yhat), within combined standard errors.

    chain: the problems of I(X;T), I(T;Yhat) and I(X;Yhat), in this order. One row, of I(X;Yhat).
    """
    xt, ty, xy = (measure(problem, contender, n, seed) for problem in chain)
    if not (xt.estimate and ty.estimate and xy.estimate):
        failure = xt.failure or ty.failure or xy.failure
        return [xy.row("dpi", False, detail=None if failure == xy.failure else failure)]
    smaller = min((xt, ty), key=lambda m: m.estimate.nats).estimate
    room = ERRORS * math.hypot(standard_error(smaller), standard_error(xy.estimate))
    detail = f"I(X;T) {xt.estimate.nats:.3f}, I(T;Yhat) {ty.estimate.nats:.3f}"
    return [xy.row("dpi", xy.estimate.nats <= smaller.nats + room, limit=smaller.nats + room, detail=detail)]


def coverage(problem: Problem, contender: Contender, n: int, seeds: Sequence[int], judged: bool) -> list[Row]:
    """How many of the 95% intervals hold the truth; one row, whose `error` is the mean one, `limit` the least share.

    judged: False where the seeds are too few, or an estimator's interval does not claim this.
    """
    measured = [measure(problem, contender, n, seed) for seed in seeds]
    known = [m for m in measured if m.estimate and m.estimate.ci_low is not None and m.estimate.ci_high is not None]
    if not known:
        return [measured[0].row("coverage", None, seed=None, detail="no interval")]
    held = sum(m.estimate.ci_low <= problem.truth <= m.estimate.ci_high for m in known)
    count = len(known)
    values = {
        name: sum(getattr(m.estimate, name) for m in known) / count for name in ("nats", "ci_low", "ci_high")
    }
    row = known[0].row(
        "coverage",
        held >= LEAST_COVERAGE * count if judged else None,
        seed=None,
        **values,
        lower_bound=None,
        upper_bound=None,
        error=values["nats"] - problem.truth,
        standard_error=sum(standard_error(m.estimate) for m in known) / count,
        limit=LEAST_COVERAGE,
        seconds=sum(m.seconds for m in measured),
        detail=f"{held} of {count} intervals hold the truth",
    )
    return [row]


def _difference(after: Measurement, before: Measurement) -> float:
    if after.estimate is None or before.estimate is None:
        return math.nan
    return after.estimate.nats - before.estimate.nats
