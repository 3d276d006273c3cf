"""Change points against every possible cut, and against a hand-worked case."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from analysis.segments import cut


def best_by_trying_all(values, errors, penalty):
    """(chi-squared + penalty x cuts, first positions of the plateaus) of the best of all 2^(n-1) cuts."""
    n, options = len(values), []
    for cuts in (c for k in range(n) for c in combinations(range(1, n), k)):
        total = penalty * len(cuts)
        for a, b in zip((0, *cuts), (*cuts, n), strict=True):
            level = np.average(values[a:b], weights=errors[a:b] ** -2)
            total += (((values[a:b] - level) / errors[a:b]) ** 2).sum()
        options.append((total, cuts))
    return min(options)[1]


@pytest.mark.parametrize(("penalty", "starts", "level"), [(4, [0, 0, 2], [0, 0, 3]), (7, [0, 0, 0], [1, 1, 1])])
def test_the_hand_worked_series(penalty, starts, level):
    start, end, found = cut(np.array([[0.0, 0.0, 3.0]]), np.ones((1, 3)), penalty)
    assert start.tolist() == [starts]
    np.testing.assert_allclose(found, [level], atol=1e-12)
    assert end[0, -1] == 2


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_it_is_the_best_of_all_cuts(n):
    rng = np.random.default_rng(n)
    values, errors = 5 + rng.normal(0, 2, (30, n)), rng.uniform(0.3, 2, (30, n))
    start, end, level = cut(values, errors, 4.0)
    for i in range(len(values)):
        cuts = best_by_trying_all(values[i], errors[i], 4.0)
        assert sorted(set(start[i].tolist())) == [0, *cuts]
        assert sorted(set(end[i].tolist())) == [*(c - 1 for c in cuts), n - 1]
        for a, b in zip((0, *cuts), (*cuts, n), strict=True):
            np.testing.assert_allclose(level[i, a:b], np.average(values[i, a:b], weights=errors[i, a:b] ** -2))
