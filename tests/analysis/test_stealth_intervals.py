"""Intervals against normal quantiles and the spread of seeds, worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_results import mi_row, random_mi, run_row
from test_stealth import HAND, frame

from analysis.stealth import stealth_intervals, stealth_scores
from analysis.trajectories import TY, XT

ONE_EPOCH = {1: {"0_clean": 3.0, "1": 0.0, "2": 4.0}}


def with_error(rows: pd.DataFrame, error: float | None, subset: str = "0_clean") -> pd.DataFrame:
    return rows.assign(standard_error=np.where(rows["subset"] == subset, error, 0.0))


def sweep(configurations: int, seeds: int, error: float | None = 0.1, epochs=(1, 5, 10, 20)) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for c in range(configurations):
        for seed in range(seeds):
            run = run_row(f"r{c}-{seed}", seed=seed, poison_ratio=0.01 * c)
            rows += [run | row for row in random_mi(rng, run, (1, 2, 3), epochs)]
    return pd.DataFrame(rows).assign(standard_error=error, run_status="done")


def test_the_hand_worked_interval():
    rows = with_error(frame({XT: ONE_EPOCH, TY: ONE_EPOCH}), 0.2)
    row = stealth_intervals(rows, subsets=("clean",), resamples=20_000).iloc[0]
    assert row["s_xt"] == row["s_ty"] == row["score"] == pytest.approx(0.25)
    assert (row["s_xt_low"], row["s_xt_high"]) == pytest.approx((0.25 - 1.96 * 0.05, 0.25 + 1.96 * 0.05), abs=0.003)
    half = 1.96 * 0.05 / 2**0.5
    assert (row["score_low"], row["score_high"]) == pytest.approx((0.25 - half, 0.25 + half), abs=0.003)
    assert row["bias"] == pytest.approx(0, abs=0.001)
    assert row["uncertainty"] == "MI only (one seed)" and row["seeds"] == 1 and np.isnan(row["score_sd"])


def test_an_interval_that_is_wider_above_is_so_in_the_score():
    rows = frame({XT: ONE_EPOCH, TY: ONE_EPOCH})
    clean = rows["subset"] == "0_clean"
    rows = rows.assign(ci_low=rows["nats"] - 0.1 * clean, ci_high=rows["nats"] + 0.4 * clean)
    row = stealth_intervals(rows, subsets=("clean",), resamples=20_000).iloc[0]
    # The mean of the draws is above the median by (0.4 - 0.1) / 1.96 / sqrt(2 pi) nats, a quarter of which is score.
    shift = 0.3 / 1.96 / (2 * np.pi) ** 0.5 / 4
    assert row["bias"] == pytest.approx(shift, abs=0.001)
    ends = (0.25 - 0.1 / 4 - shift, 0.25 + 0.4 / 4 - shift)
    assert (row["s_xt_low"], row["s_xt_high"]) == pytest.approx(ends, abs=0.003)


def test_without_mi_uncertainty_only_seeds_spread():
    """Two seeds at scores 0.25 and 0.35: resampled means -0.05, 0, +0.05, stretched by sqrt(2)."""
    a = frame({XT: ONE_EPOCH, TY: ONE_EPOCH})
    other = {1: {"0_clean": 3.4, "1": 0.0, "2": 4.0}}
    b = frame({XT: other, TY: other}).assign(run_id="r2", seed=1)
    row = stealth_intervals(pd.concat([a, b]), subsets=("clean",)).iloc[0]
    assert row["score"] == pytest.approx(0.3) and row["score_sd"] == pytest.approx(0.1 / 2**0.5)
    assert (row["score_low"], row["score_high"]) == pytest.approx((0.3 - 0.05 * 2**0.5, 0.3 + 0.05 * 2**0.5))
    assert row["uncertainty"] == "seeds (no MI interval)" and row["with_interval"] == 0


def test_one_seed_without_mi_uncertainty_has_no_interval():
    row = stealth_intervals(frame({XT: ONE_EPOCH, TY: ONE_EPOCH}), subsets=("clean",)).iloc[0]
    assert row["score"] == pytest.approx(0.25) and row["uncertainty"] == "none"
    assert np.isnan(row["score_low"]) and np.isnan(row["score_high"])


def test_both_kinds_add_up():
    seeds, both = (stealth_intervals(sweep(6, 3, error)) for error in (None, 0.2))
    alone = stealth_intervals(sweep(6, 1, 0.2))
    assert set(both["uncertainty"]) == {"seeds and MI"} and set(alone["uncertainty"]) == {"MI only (one seed)"}
    width = [(t["score_high"] - t["score_low"]).mean() for t in (seeds, both)]
    assert width[0] < width[1]
    pd.testing.assert_series_equal(seeds["score"], both["score"])
    assert (both["score_low"] <= both["score"]).all() and (both["score"] <= both["score_high"]).all()


@pytest.mark.parametrize("options", [{}, {"normalise": "epoch", "epochs": [1, 20], "clean_classes": [1, 2]}])
def test_the_score_is_the_mean_of_the_scores_of_the_runs(options):
    mi = sweep(3, 2)
    means = stealth_scores(mi, **options).groupby("poison_ratio")["score"].mean()
    ours = stealth_intervals(mi, **options, resamples=10).set_index("poison_ratio")["score"]
    pd.testing.assert_series_equal(ours.sort_index(), means)


def test_draws_follow_the_seed_and_not_the_company():
    mi = sweep(3, 2)
    first = stealth_intervals(mi, seed=1)
    pd.testing.assert_frame_equal(first, stealth_intervals(mi.sample(frac=1, random_state=0), seed=1))
    assert not first.equals(stealth_intervals(mi, seed=2))
    alone = stealth_intervals(mi[mi["poison_ratio"] == 0.01], seed=1)
    pd.testing.assert_frame_equal(alone, first[first["poison_ratio"] == 0.01].reset_index(drop=True))


def test_missing_data_give_reasons():
    mi = sweep(2, 2)
    hole = (mi["run_id"] == "r0-0") & (mi["epoch"] == 5) & (mi["subset"] == "1")
    table = stealth_intervals(mi.assign(nats=mi["nats"].mask(hole)))
    assert table["seeds"].tolist() == [1, 2] and table["uncertainty"].tolist() == ["MI only (one seed)", "seeds and MI"]
    assert table["reason"].iloc[0] == "2 of 48 estimates missing" and pd.isna(table["reason"].iloc[1])
    nothing = stealth_intervals(mi.assign(run_status="running"))
    assert nothing["score"].isna().all() and set(nothing["reason"]) == {"run status: running"}
    assert set(nothing["seeds"]) == {0}
    assert stealth_intervals(mi.iloc[:0]).empty


def test_clean_models_are_the_baseline():
    table = {e: {"0": v["0_clean"], "1": v["1"], "2": v["2"]} for e, v in HAND.items()}
    row = stealth_intervals(frame({XT: table, TY: table}, attack="none").assign(standard_error=0.1)).iloc[0]
    assert row["attack"] == "none" and row["score"] == pytest.approx(0.375) and row["score_high"] > 0.375


def test_only_the_estimator_and_protocol_that_were_asked_for():
    run = run_row("r")
    rows = [run | mi_row("r", e, s, q, n, estimator=m) for m in ("infonce", "mine")
            for q in (XT, TY) for e, v in HAND.items() for s, n in v.items()]  # fmt: skip
    mi = pd.DataFrame(rows)
    assert len(stealth_scores(mi)) == 2
    assert set(stealth_scores(mi, estimator="mine")["estimator"]) == {"mine"}
    assert set(stealth_intervals(mi, estimator="mine", subsets=("clean",))["estimator"]) == {"mine"}
    assert stealth_scores(mi, protocol="closed").empty
