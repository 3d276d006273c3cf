"""The time left and its interval, on units whose durations are known."""

from __future__ import annotations

import numpy as np
import pytest

from ibray.pace import FEWEST_UNITS, StagePace, time_left


def finished(durations, queued: int, running=()) -> StagePace:
    return StagePace(
        done=len(durations),
        mean=float(np.mean(durations)) if len(durations) else None,
        spread=float(np.std(durations, ddof=1)) if len(durations) > 1 else None,
        worked=float(np.sum(durations)),
        queued=queued,
        running=running,
    )


def test_equal_units_one_after_another_leave_no_doubt():
    left = time_left([finished([10.0] * 4, queued=6)], elapsed=40)
    assert left.seconds == pytest.approx(60) and left.interval == pytest.approx((60, 60))


def test_two_side_by_side_take_half_the_time_and_the_last_one_is_alone():
    assert time_left([finished([10.0] * 8, queued=6)], elapsed=40).seconds == pytest.approx(30)
    assert time_left([finished([10.0] * 8, queued=1)], elapsed=40).seconds == pytest.approx(10)


def test_what_a_running_unit_has_done_counts():
    left = time_left([finished([10.0] * 3, queued=0, running=[4.0])], elapsed=34)
    assert left.seconds == pytest.approx(6)
    overdue = time_left([finished([10.0] * 3, queued=0, running=[25.0])], elapsed=55)
    assert overdue.seconds == 0


def test_no_interval_until_every_stage_with_units_left_has_finished_a_few():
    few, many = [1.0] * (FEWEST_UNITS - 1), [1.0] * FEWEST_UNITS
    assert time_left([finished(few, 5), finished(many, 5)], elapsed=9).interval is None
    assert time_left([finished(few, 0), finished(many, 5)], elapsed=9).interval is not None
    assert time_left([finished([], 5), finished(many, 5)], elapsed=9).interval is None


def test_a_stage_of_little_work_may_have_finished_fewer():
    stages = [finished([100.0] * 5, 20), finished([0.5], 1)]
    low, high = time_left(stages, elapsed=500.5).interval
    assert low < 2000.5 < high and high - low < 40


def test_nothing_finished_nothing_known():
    assert time_left([finished([], 5)], elapsed=9) is None and time_left([], elapsed=0) is None


def test_the_interval_holds_what_comes_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        durations = rng.gamma(9, 1, size=10)
        left = time_left([finished(durations[:4], queued=6)], elapsed=durations[:4].sum())
        hits += left.interval[0] <= durations[4:].sum() <= left.interval[1]
    assert 0.92 < hits / 1000 < 0.98
