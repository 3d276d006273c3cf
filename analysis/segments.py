"""Piecewise constant fits of many short series at once."""

from __future__ import annotations

import numpy as np


def cut(values: np.ndarray, errors: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The plateaus that minimise chi-squared + penalty x change points, by dynamic programming.

    Args:
        values, errors: (series, n), errors > 0 in the same unit.

    Returns:
        For each value the position of the first and of the last value of its plateau, and the plateau's level
        (mean weighted by 1 / errors^2); each (series, n).

    By hand: 0, 0, 3 with errors 1 and penalty 4. One plateau at 1 has chi-squared 1 + 1 + 4 = 6, the plateaus 0
    and 3 have 0 + 4 = 4: cut before the third. With penalty 7 it stays whole.
    """
    count, n = values.shape
    centred = values - values.mean(axis=1, keepdims=True)  # keeps the sums of squares small
    weight = 1 / errors**2
    sums, weighted, squares = (
        np.concatenate([np.zeros((count, 1)), np.cumsum(terms, axis=1)], axis=1)
        for terms in (weight, weight * centred, weight * centred**2)
    )
    best = np.zeros((count, n + 1))
    before = np.zeros((count, n + 1), dtype=int)  # where the plateau that ends just before this position starts
    for stop in range(1, n + 1):
        w, wx, wxx = (total[:, stop, None] - total[:, :stop] for total in (sums, weighted, squares))
        cost = best[:, :stop] + wxx - wx**2 / w + penalty
        before[:, stop] = cost.argmin(axis=1)  # the first: on a tie the longer plateau
        best[:, stop] = cost.min(axis=1)

    rows, position = np.arange(count), np.arange(n)
    starts = np.zeros((count, n), dtype=bool)
    stop = np.full(count, n)
    while (stop > 0).any():
        stop = before[rows, stop]  # position 0 leads to itself
        starts[rows, stop] = True
    start = np.maximum.accumulate(np.where(starts, position, 0), axis=1)
    ends = np.concatenate([starts[:, 1:], np.ones((count, 1), dtype=bool)], axis=1)
    end = np.minimum.accumulate(np.where(ends, position, n - 1)[:, ::-1], axis=1)[:, ::-1]
    level = [np.take_along_axis(t, end + 1, 1) - np.take_along_axis(t, start, 1) for t in (weighted, sums)]
    return start, end, level[0] / level[1] + values.mean(axis=1, keepdims=True)
