"""The representative epochs, wherever the peak lies."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.phases import phase_epochs


@pytest.mark.parametrize(
    ("nats", "expected"),
    [
        ([4.0, 3.0, 2.0, 1.0], [1, 1, 10, 20]),  # peak at the start
        ([1.0, 4.0, 2.0, 1.0], [1, 5, 10, 20]),  # in the middle
        ([1.0, 2.0, 3.0, 4.0], [1, 20, 20, 20]),  # at the end
        ([2.0, 2.0, 2.0, 2.0], [1, 1, 10, 20]),  # flat: the first
        ([1.0, 0.1 + 0.2, 0.3, 1.0], [1, 1, 10, 20]),
        ([0.0, 0.3, 0.1 + 0.2, 0.0], [1, 5, 10, 20]),  # a tie but for rounding
    ],
)
def test_four_snapshots(nats, expected):
    assert list(phase_epochs(pd.Series(nats, index=[1, 5, 10, 20])).values()) == expected


def test_one_snapshot_stands_for_all_phases():
    assert set(phase_epochs(pd.Series([1.0], index=[120])).values()) == {120}


def test_the_order_of_the_rows_does_not_matter():
    curve = pd.Series([1.5, 1.0, 3.0, 2.0, 1.0], index=[20, 1, 5, 10, 40])
    assert phase_epochs(curve) == {"early learning": 1, "transition": 5, "compression": 20, "convergence": 40}
