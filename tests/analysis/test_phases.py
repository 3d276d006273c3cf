"""The representative epochs, wherever the peak lies, and the phases found in trajectories that are known."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, norm

from analysis.phases import COLUMNS, find_phases, phase_epochs, phases_of
from analysis.trajectories import LAYER, XT, mi_rows
from analysis.uncertainty import errors


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


EPOCHS = [1, 5, 10, 20, 40, 60, 80, 100, 120]


def trajectory(nats, error=0.1, **columns) -> pd.DataFrame:
    return pd.DataFrame({"epoch": EPOCHS[: len(nats)], "nats": nats, "standard_error": error, **columns})


def spans(phases: pd.DataFrame) -> dict[str, tuple[int, int]]:
    found = phases[phases["found"]]
    return {row.phase: (row.first_epoch, row.last_epoch) for row in found.itertuples()}


def reasons(phases: pd.DataFrame) -> dict[str, str]:
    return dict(phases.dropna(subset="reason")[["phase", "reason"]].to_numpy())


def test_the_hand_worked_trajectory():
    phases = find_phases(trajectory([1, 3, 3, 1, 1]))
    assert spans(phases) == {
        "early learning": (1, 5),
        "transition": (5, 10),
        "compression": (10, 20),
        "convergence": (20, 40),
    }
    assert phases["change"].tolist() == [2, 0, -2, 0]
    assert phases["change_error"].tolist() == pytest.approx([0.1 * 2**0.5] * 4)
    assert phases["noise_floor"].tolist() == pytest.approx([(6.2385 * 2) ** 0.5 * 0.1] * 4, rel=1e-4)
    assert (phases["confidence"] > 0.95).all() and phases["reason"].isna().all()


@pytest.mark.parametrize("seed", range(5))
def test_known_change_points_are_found_through_the_noise(seed):
    truth = np.array([1, 2, 3, 3, 2, 1, 0.5, 0.5, 0.5])
    noisy = truth + np.random.default_rng(seed).normal(0, 0.1, 9)
    phases = find_phases(trajectory(noisy))
    assert spans(phases) == {
        "early learning": (1, 10),
        "transition": (10, 20),
        "compression": (20, 80),
        "convergence": (80, 120),
    }
    assert phases.set_index("phase")["change"]["compression"] == pytest.approx(-2.5, abs=0.45)


@pytest.mark.parametrize(
    ("nats", "found", "why"),
    [
        ([2, 2, 2, 2, 2], {"convergence": (1, 40)}, "no change beyond the noise"),
        ([2, 2.1, 1.9, 2, 2.1], {"convergence": (1, 40)}, "no change beyond the noise"),
        ([1, 2, 3, 4, 5], {"early learning": (1, 40)}, "no fall after the highest plateau"),
        ([1, 2, 3, 3, 3], {"early learning": (1, 10), "convergence": (10, 40)}, "no fall after the highest plateau"),
        ([5, 4, 3, 2, 2], {"convergence": (20, 40)}, "falls from the first snapshot on, no rise before"),
    ],
)
def test_flat_and_monotone_trajectories_have_no_compression(nats, found, why):
    phases = find_phases(trajectory(nats))
    assert spans(phases) == found
    assert reasons(phases)["compression"] == reasons(phases)["transition"] == why


def test_a_fall_without_a_rise_is_compression_when_asked():
    phases = find_phases(trajectory([5, 5, 3, 2, 2]), need_rise=False)
    assert spans(phases) == {"transition": (1, 5), "compression": (5, 20), "convergence": (20, 40)}
    assert reasons(phases) == {"early learning": "highest from the first snapshot on"}


def test_the_same_fall_is_found_or_not_by_the_size_of_the_errors():
    assert "compression" in spans(find_phases(trajectory([1, 3, 2, 2, 2], 0.1)))
    unsure = find_phases(trajectory([1, 3, 2, 2, 2], 1.0)).set_index("phase")
    assert not unsure["found"]["compression"] and unsure["noise_floor"].iloc[0] > 3


def test_a_rise_after_the_compression_is_remarked_on():
    phases = find_phases(trajectory([1, 3, 1, 2, 2]))
    assert spans(phases)["compression"] == (5, 10) and spans(phases)["convergence"] == (20, 40)
    assert reasons(phases) == {"compression": "rises again afterwards"}


@pytest.mark.parametrize(
    ("nats", "found"),
    [
        ([1, 3], {"early learning": (1, 5)}),
        ([1, 1], {"convergence": (1, 5)}),
        ([1, 3, 1], {"early learning": (1, 5), "transition": (5, 5), "compression": (5, 10)}),
    ],
)
def test_two_or_three_snapshots(nats, found):
    assert spans(find_phases(trajectory(nats))) == found


@pytest.mark.parametrize(
    ("nats", "reason"),
    [
        ([1.0], "fewer than two snapshots"),
        ([np.nan, 1.0, np.inf], "fewer than two snapshots"),
        ([], "fewer than two snapshots"),
    ],
)
def test_too_little_gives_reasons(nats, reason):
    phases = find_phases(trajectory(nats))
    assert not phases["found"].any() and set(phases["reason"]) == {reason}
    assert phases["confidence"].isna().all()


def test_missing_estimates_are_left_out():
    phases = find_phases(trajectory([np.nan, 1, np.nan, 3, 1]))
    assert spans(phases) == {"early learning": (5, 20), "transition": (20, 20), "compression": (20, 40)}
    assert set(phases["snapshots"]) == {3}


def test_without_uncertainty_nothing_is_found_unless_one_is_assumed():
    bare = trajectory([1, 3, 3, 1, 1], None)
    assert set(find_phases(bare)["reason"]) == {"no uncertainty: neither an interval nor several seeds"}
    assert len(spans(find_phases(bare, error=0.1))) == 4


def test_noise_alone_seldom_shows_a_change():
    rows = [
        trajectory(nats, 1.0).assign(run_id=str(i))
        for i, nats in enumerate(np.random.default_rng(0).normal(0, 1, (1500, 9)))
    ]
    about = {"quantity": XT, "layer": LAYER, "subset": "0", "estimator": "e", "protocol": "p", "settings": "s"}
    phases = phases_of(pd.concat(rows).assign(**about, target_class=0), resamples=0)
    flat = phases[phases["phase"] == "convergence"]["first_epoch"] == 1
    assert 0.92 < flat.mean() < 0.98  # a rate of 5% at most, give or take chance
    assert phases[phases["phase"] == "compression"]["found"].mean() < 0.01


def test_the_confidence_is_the_share_of_draws():
    """Two snapshots 0.4 apart, errors 0.1: a draw keeps the change when N(0.4, 0.141) passes 0.277: 81%."""
    phases = find_phases(trajectory([1, 1.4]), resamples=20_000).set_index("phase")
    above, below = norm.sf((0.2772 - 0.4) / 0.02**0.5), norm.cdf((-0.2772 - 0.4) / 0.02**0.5)
    assert phases["confidence"]["early learning"] == pytest.approx(above, abs=0.01)
    assert phases["same_epochs"]["early learning"] == pytest.approx(above, abs=0.01)
    assert phases["confidence"]["convergence"] == pytest.approx(above + below, abs=0.01)


def test_draws_follow_the_seed():
    noisy = trajectory([1, 1.5, 1.2, 1, 1.1], 0.2)
    pd.testing.assert_frame_equal(find_phases(noisy, seed=3), find_phases(noisy, seed=3))
    assert not find_phases(noisy, seed=3).equals(find_phases(noisy, seed=4))


def test_several_seeds_count_with_their_mean_and_their_spread():
    wide, narrow = [1.0, 4.0, 4.0, 1.0], [1.0, 2.0, 2.0, 1.0]
    seeds = pd.concat([trajectory(n, None, seed=i) for i, n in enumerate([wide, narrow])])
    phases = find_phases(seeds)
    assert set(phases["seeds"]) == {2}
    # Mean 1 3 3 1. About each other's course the seeds are +-0.5 everywhere: variance 8 x 0.25 / (3 x 1), of two.
    assert phases["noise_floor"].iloc[0] == pytest.approx((2 * chi2.ppf(1 - 0.05 / 3, 1) / 3) ** 0.5)
    assert phases["change_error"].dropna().iloc[0] == pytest.approx((2 / 3) ** 0.5) or not phases["found"][0]
    offset = pd.concat([trajectory(np.add(wide, 5 * i), 0.01, seed=i) for i in range(2)])
    assert find_phases(offset)["change_error"].iloc[0] == pytest.approx(0.01)  # an offset is not noise
    gaps = pd.concat([trajectory(wide, 0.1, seed=0), trajectory([1.0, np.nan, 4.0, 1.0], 0.1, seed=1)])
    assert set(find_phases(gaps)["snapshots"]) == {3}


def test_every_trajectory_of_a_sweep(plausible):
    with duckdb.connect(plausible / "results.duckdb") as con:
        mi = mi_rows(con)
    phases = phases_of(mi)
    assert len(phases) == 4 * len(mi[mi["quantity"] == XT][["run_id", "subset"]].drop_duplicates())
    one = mi[(mi["run_id"] == "blend-1") & (mi["subset"] == "0_backdoor") & (mi["quantity"] == XT)]
    same = phases[(phases["run_id"] == "blend-1") & (phases["subset"] == "0_backdoor")]
    pd.testing.assert_frame_equal(same[COLUMNS].reset_index(drop=True), find_phases(one), check_dtype=False)
    assert set(same["role"]) == {"backdoor"} and set(same["attack"]) == {"blend"}
    together = phases_of(mi, by="configuration", protocol="paper")
    assert len(together) * 2 == len(phases) and set(together["seeds"]) == {2}
    assert phases_of(mi, protocol="other").empty and list(phases_of(mi, protocol="other").columns) == [*phases]


def test_an_upper_bound_that_is_not_known_falls_back_on_the_standard_error():
    rows = pd.DataFrame({"nats": [2.0, 2.0], "ci_low": [1.0, None], "ci_high": [None, 3.96], "standard_error": 0.3})
    assert [side.round(2).tolist() for side in errors(rows)] == [[0.51, 0.3], [0.3, 1.0]]
    assert [side.round(2).tolist() for side in errors(rows, "sampling")] == [[0.3, 0.3], [0.3, 0.3]]
    assert np.isnan(errors(rows[["nats"]])).all()
