"""Every check on estimates that satisfy it and on estimates that cannot be true."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from synthetic_results import insert, mi_row, open_database, run_row

from analysis.bounds import CHECKS, COLUMNS, bounds, bounds_summary

XT, TY, XY = "I(X;T)", "I(T;Yhat)", "I(X;Yhat)"
LAYERS = {XT: "T", TY: "T", XY: "output", "I(X;B)": "input", "I(B;Y)": "input", "I(B;Yhat)": "output"}
H_B = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
# 10,000 images, 10% backdoor, spread over all classes: P(Y=0) = 0.19, the others 0.09 (paper.md).
H_Y = -(0.19 * math.log(0.19) + 0.81 * math.log(0.09))
I_BY = H_Y - 0.9 * math.log(10)


@pytest.fixture
def con(tmp_path):
    """A database with one run at one epoch: 10,000 images, training error 0.2."""
    with open_database(tmp_path / "results.duckdb") as connection:
        insert(connection, "runs", [run_row("r")])
        epoch = {"run_id": "r", "epoch": 20, "train_loss": 1.0, "train_acc": 0.8, "test_loss": 1.0, "test_acc": 0.7}
        insert(connection, "epochs", [epoch | {"lr": 0.1, "seconds": 1.0, "images_per_s": 1.0}])
        sizes = {str(c): 900 for c in range(10)} | {"0": 1900, "0_backdoor": 1000, "0_clean": 900}
        losses = [{"run_id": "r", "epoch": 20, "subset": s, "train_loss": 1.0, "n": n} for s, n in sizes.items()]
        insert(connection, "class_losses", losses)
        yield connection


def put(con, quantity: str, nats: float, subset: str = "whole", **changes) -> None:
    row = mi_row("r", 20, subset, XT, nats, ceiling=None, n=5000) | {"quantity": quantity, "layer": LAYERS[quantity]}
    insert(con, "estimates", [row | changes])


def only(con, check: str) -> pd.Series:
    rows = bounds(con)
    rows = rows[rows["check"] == check]
    assert len(rows) == 1, rows
    return rows.iloc[0]


def test_fano_is_the_papers_number_and_fails_below_it(con):
    """Fano's bound of the paper, 1.326 nats, is with a rounded H(Y) of 2.266 and an error of 0.2."""
    put(con, XY, 1.9)
    row = only(con, "fano")
    bound = H_Y - 0.2 * math.log(9) + 0.2 * math.log(0.2) + 0.8 * math.log(0.8)
    assert row["low"] == pytest.approx(bound) == pytest.approx(1.326, abs=1e-3)
    assert row["passed"] and row["margin"] == pytest.approx(1.9 - bound) and "train_acc" in row["low_name"]
    con.execute("UPDATE estimates SET nats = 1.2")
    assert not only(con, "fano")["passed"]
    con.execute("UPDATE estimates SET ci_low = 1.0, ci_high = 1.4")  # two standard errors reach it
    assert only(con, "fano")["passed"] and only(con, "fano")["allowance"] == pytest.approx(0.2)


def test_a_lower_bound_below_fano_says_nothing_and_an_upper_one_does(con):
    put(con, XY, 1.0, protocol="certified", lower_bound=1.0)
    assert pd.isna(only(con, "fano")["passed"])
    con.execute("UPDATE estimates SET upper_bound = 5")
    assert only(con, "fano")["passed"]
    con.execute("UPDATE estimates SET upper_bound = 1.1")
    row = only(con, "fano")
    assert not row["passed"] and row["high_name"] == "I(X;Yhat), proven upper bound"


@pytest.mark.parametrize(("other", "check"), [(XT, "dpi_xt"), (TY, "dpi_ty")])
def test_data_processing(con, other, check):
    put(con, XY, 2.0, "0")
    put(con, other, 3.0, "0")
    put(con, other, 1.0, "1")  # another subset
    row = only(con, check)
    assert row["passed"] and (row["low"], row["high"], row["margin"]) == (2.0, 3.0, 1.0)
    con.execute("UPDATE estimates SET nats = 2.5 WHERE quantity = 'I(X;Yhat)'")
    con.execute("UPDATE estimates SET nats = 2.4 WHERE quantity <> 'I(X;Yhat)' AND subset = '0'")
    assert not only(con, check)["passed"]
    con.execute("UPDATE estimates SET lower_bound = nats, upper_bound = nats + 1")
    assert only(con, check)["passed"]  # the truth may still satisfy it


def test_entropy_of_the_backdoor_from_counts_and_from_the_same_images(con):
    put(con, "I(B;Yhat)", 0.3025)
    row = only(con, "entropy_b")
    assert row["passed"] and row["high"] == pytest.approx(H_B) and row["high_name"] == "H(B) from class counts"
    con.execute("UPDATE estimates SET nats = 0.4")
    assert not only(con, "entropy_b")["passed"]
    put(con, "I(X;B)", 0.45, estimator="plugin", protocol="certified", lower_bound=0.45, upper_bound=0.45)
    row = only(con, "entropy_b")
    assert row["passed"] and row["high"] == 0.45 and "same images" in row["high_name"]


def test_entropy_of_the_backdoor_within_the_target_class(con):
    put(con, "I(X;B)", 0.5, "0")
    share = 1000 / 1900
    expected = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert only(con, "entropy_b")["high"] == pytest.approx(expected)


def test_backdoor_and_label_by_their_closed_form(con):
    put(con, "I(B;Y)", 0.1929)
    row = only(con, "exact_by")
    assert pytest.approx(0.1936, abs=1e-4) == I_BY
    assert row["passed"] and row["low"] == pytest.approx(abs(0.1929 - I_BY), abs=1e-9)
    con.execute("UPDATE estimates SET nats = 0.15")
    assert not only(con, "exact_by")["passed"]


@pytest.mark.parametrize(
    ("nats", "ceiling", "passed"), [(4.3, 4.72, False), (4.2, 4.72, True), (1.85, 2.0, False), (1.6, 2.0, True)]
)
def test_a_value_near_its_ceiling_is_saturated(con, nats, ceiling, passed):
    put(con, XT, nats, "1", ceiling=ceiling)
    row = only(con, "ceiling")
    assert row["passed"] == passed and row["high"] == pytest.approx(min(ceiling - 0.3, 0.9 * ceiling))


def test_nothing_shows_more_than_its_images_and_negatives_can(con):
    put(con, XT, 5.0, "1", n=100, negatives=128)
    assert not only(con, "log_n")["passed"] and only(con, "log_n")["high"] == pytest.approx(math.log(100))
    assert not only(con, "negatives")["passed"] and only(con, "negatives")["high"] == pytest.approx(math.log(129))
    con.execute("UPDATE estimates SET nats = 4.5")
    assert only(con, "log_n")["passed"] and only(con, "negatives")["passed"]


@pytest.mark.parametrize(
    ("nats", "upper", "passed", "margin"),
    [
        (3.0, 4.0, True, 1.0),
        (3.5, 4.0, True, 0.5),
        (1.0, 4.0, False, -1.0),
        (4.5, 4.0, False, -0.5),
        (9.0, None, True, 7.0),
        (1.5, None, False, -0.5),
    ],
)
def test_a_critics_value_lies_between_the_proven_bounds(con, nats, upper, passed, margin):
    put(con, XT, nats, "1")
    put(con, XT, 2.0, "1", estimator="channel", protocol="certified", lower_bound=2.0, upper_bound=upper)
    put(con, XT, 0.0, "2")  # of another subset
    row = only(con, "certified_interval")
    assert row["passed"] == passed and row["margin"] == pytest.approx(margin) and row["protocol"] == "paper"


def test_all_columns_are_there_and_an_empty_database_has_no_rows(con):
    rows = bounds(con)
    assert rows.columns.tolist() == COLUMNS and len(rows) == 0 and len(bounds_summary(con)) == 0
    put(con, XY, 1.0)
    put(con, TY, 2.0, ceiling=2.1)
    rows = bounds(con)
    assert set(rows["check"]) <= set(CHECKS) and set(rows["attack"]) == {"badnets"}
    table = bounds_summary(con).set_index("check")
    assert table.loc["ceiling", "failed"] == 1 and table.loc["fano", "failed"] == 1 and table.loc["fano", "passed"] == 1
    assert table.loc["dpi_ty", "worst_margin"] == 1.0
    failed = bounds(con, only_failed=True)
    assert sorted(failed["check"]) == ["ceiling", "fano"] and not failed["passed"].any()


def test_failed_estimates_are_left_out(con):
    put(con, XY, 9.0, status="failed")
    put(con, TY, float("nan"))
    assert len(bounds(con)) == 0
