"""The checks pass estimators that are right and fail those that are wrong, each in its own way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ibray.errors import UserError
from ibray.mi import ESTIMATORS, EstimationError, MIEstimate
from ibray.validation import checks, problems
from ibray.validation.contenders import Contender, Scope, contenders

PROBLEM = problems.gaussian(2, 1.0)


def estimate(nats: float, n: int, error: float = 0.02, **more) -> MIEstimate:
    e = MIEstimate(
        nats=nats, ci_low=nats - 1.96 * error, ci_high=nats + 1.96 * error, lower_bound=None, upper_bound=None,
        ceiling=None, n=n, negatives=None, estimator="fake", protocol="direct", critic_epochs=None, seconds=0.0,
        standard_error=error,
    )  # fmt: skip
    return replace(e, **more)


def fake(answer, **more) -> Contender:
    """answer: sample, seed -> nats or an estimate."""

    def run(sample, seed):
        value = answer(sample, seed)
        return value if isinstance(value, MIEstimate) else estimate(float(value), len(sample))

    return Contender("fake", "direct", run, **more)


def by_correlation(sample) -> float:
    """The right answer for Gaussian pairs, feature by feature."""
    x, y = sample.x.double(), sample.y.double()
    rho = ((x - x.mean(0)) * (y - y.mean(0))).mean(0) / (x.std(0) * y.std(0))
    return float(-0.5 * torch.log1p(-(rho**2)).sum())


right = fake(lambda sample, seed: by_correlation(sample))
zero = fake(lambda sample, seed: 0.0)
one = fake(lambda sample, seed: 1.0)


def refuse(sample, seed):
    raise EstimationError("too few")


def measured(contender, problem=PROBLEM, seeds=2, n=2000):
    return [checks.measure(problem, contender, n, seed) for seed in range(seeds)]


def verdicts(rows) -> list[bool | None]:
    assert rows
    return [row.passed for row in rows]


def test_truth():
    assert verdicts(checks.truth(measured(right))) == [True, True]
    rows = checks.truth(measured(zero))
    assert verdicts(rows) == [False, False]
    assert (rows[0].error, rows[0].limit, rows[0].truth, rows[0].seed, rows[1].seed) == (-1.0, 0.1, 1.0, 0, 1)


def test_truth_judges_the_mean_over_seeds():
    either = fake(lambda sample, seed: 1.2 if seed else 0.8)
    assert verdicts(checks.truth(measured(either))) == [True, True]
    assert verdicts(checks.truth(measured(either, seeds=1))) == [False]


@pytest.mark.parametrize(
    ("truth", "limit"), [(0.2, 0.04), (0.5, 0.1), (2.0, 0.1), (2.9, 0.25), (5.0, 0.25), (10.0, None)]
)
def test_limits_of_the_bias(truth, limit):
    assert checks.bias_limit(truth) == (limit if limit is None else pytest.approx(limit))


def test_truth_beyond_all_limits_is_informational():
    assert verdicts(checks.truth(measured(zero, problems.gaussian(10, 10.0)))) == [None, None]


@pytest.mark.parametrize(
    ("lower", "upper", "held"),
    [(0.9, 1.1, True), (1.05, 1.2, True), (1.2, 1.4, False), (0.5, 0.8, False), (0.9, None, True), (1.2, None, False)],
)
def test_bracket(lower, upper, held):
    bounds = fake(lambda sample, seed: estimate(lower, 2000, lower_bound=lower, upper_bound=upper, ci_high=upper))
    assert verdicts(checks.bracket(measured(bounds, seeds=1))) == [held]


def test_what_has_no_bounds_is_in_no_bracket():
    assert checks.bracket(measured(right)) == []


def test_null():
    assert verdicts(checks.null(PROBLEM, right, 2000, 0)) == [True]
    (row,) = checks.null(PROBLEM, one, 2000, 0)
    assert (row.passed, row.truth, row.error) == (False, 0.0, 1.0)


def test_rescaling():
    assert verdicts(checks.rescaling(PROBLEM, right, 2000, 0)) == [True]
    with_units = fake(lambda sample, seed: float(sample.x.std()))
    (row,) = checks.rescaling(PROBLEM, with_units, 2000, 0)
    assert row.passed is False and row.error == pytest.approx(999, rel=0.05)


def test_subsample():
    assert verdicts(checks.subsample(PROBLEM, right, 2000, 0)) == [True]
    counting = fake(lambda sample, seed: len(sample) / 1000)
    (row,) = checks.subsample(PROBLEM, counting, 2000, 0)
    assert (row.passed, row.error, row.limit) == (False, -1.0, 0.1)


def test_fano():
    (plugin,) = contenders(["plugin"])
    problem = problems.classifier()
    (row,) = checks.fano(problem, plugin, 5000, 0)
    assert row.passed is True and row.limit == pytest.approx(1.326, abs=5e-4) and row.nats >= row.limit
    assert verdicts(checks.fano(problem, one, 5000, 0)) == [False]


def test_data_processing():
    chain = problems.chain()
    assert verdicts(checks.data_processing(chain, right, 4000, 0)) == [True]
    more_at_the_end = fake(lambda sample, seed: 2 - by_correlation(sample))
    assert verdicts(checks.data_processing(chain, more_at_the_end, 4000, 0)) == [False]


def test_coverage():
    def with_error(scale):
        return fake(lambda sample, seed: estimate(by_correlation(sample), len(sample), scale / len(sample) ** 0.5))

    (row,) = checks.coverage(PROBLEM, with_error(1.3), 400, range(30), True)  # the spread is sqrt(2 rho^2 / n)
    assert row.passed is True and row.seed is None and row.detail.endswith("of 30 intervals hold the truth")
    assert verdicts(checks.coverage(PROBLEM, with_error(0.3), 400, range(30), True)) == [False]
    assert verdicts(checks.coverage(PROBLEM, with_error(0.3), 400, range(30), False)) == [None]


def test_an_estimator_that_gives_up_fails_with_its_reason():
    quitter = fake(refuse)
    rows = checks.truth(measured(quitter)) + checks.null(PROBLEM, quitter, 100, 0)
    rows += checks.rescaling(PROBLEM, quitter, 100, 0) + checks.subsample(PROBLEM, quitter, 100, 0)
    rows += checks.data_processing(problems.chain(), quitter, 100, 0)
    assert set(verdicts(rows)) == {False} and all("too few" in row.detail for row in rows)
    assert all(row.nats is None for row in rows)


def test_beyond_its_scope_an_estimator_is_measured_only():
    small = replace(zero, scope=Scope(1, 5.0, "small things"))
    (row,) = checks.truth(measured(small, seeds=1))
    assert row.passed is None and "small things" in row.detail and row.limit == 0.1
    assert verdicts(checks.truth(measured(small, problems.gaussian(1, 1.0), seeds=1))) == [False]
    assert verdicts(checks.truth(measured(replace(zero, judged=False), seeds=1))) == [None]
    short = replace(zero, scope=Scope(5, 5.0, "no outliers", long_tails=False))
    assert verdicts(checks.truth(measured(short, problems.student(2, 1.0, 3), seeds=1))) == [None]
    assert verdicts(checks.truth(measured(short, seeds=1))) == [False]


# Contenders


def test_the_default_contenders_are_those_that_give_nats_from_samples():
    names = [contender.name for contender in contenders()]
    assert {"infonce/paper", "channel/certified", "ksg/direct", "plugin/exact"} <= set(names)
    surrogates = {name for name in ESTIMATORS if ESTIMATORS[name].is_surrogate}
    assert not surrogates & {name.split("/")[0] for name in names}
    assert [c.name for c in contenders() if "paper" in c.name and c.judged] == []


@pytest.mark.parametrize("name", ["ksq", "ksg/paper", "hsic", "plugin/paper"])
def test_contenders_that_cannot_be_are_refused(name):
    with pytest.raises(UserError):
        contenders([name])


def test_the_certified_bounds_bracket_a_network_and_a_gaussian():
    (certified,) = contenders(["channel"])
    for problem in (problems.network(4.0), problems.gaussian(5, 2.0)):
        rows = checks.bracket(measured(certified, problem, n=1000))
        assert verdicts(rows) == [True, True] and rows[0].lower_bound < rows[0].upper_bound
        assert verdicts(checks.null(problem, certified, 1000, 0)) == [True]
        assert verdicts(checks.rescaling(problem, certified, 1000, 0)) == [True]
