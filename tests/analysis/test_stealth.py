"""Scores against numbers worked by hand, and the SQL view against the function."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest
from synthetic_results import insert, mi_row, open_database, random_mi, run_row

from analysis.phases import phase_epochs
from analysis.scores import _chosen
from analysis.stealth import stealth_scores
from analysis.trajectories import TY, XT, mi_rows, subset_roles

# The table of the docstring of stealth_scores, and one for I(T;Yhat) whose range is zero.
HAND = {1: {"0_clean": 1.0, "1": 2.0, "2": 3.0}, 5: {"0_clean": 5.0, "1": 3.0, "2": 4.0}}


def frame(tables: dict[str, dict[int, dict[str, float]]], **run) -> pd.DataFrame:
    """Rows shaped like the view trajectories, out of {quantity: {epoch: {subset: nats}}}."""
    rows = [
        mi_row("r", epoch, subset, quantity, nats) | {**run_row("r", **run), "status": "done"}
        for quantity, table in tables.items()
        for epoch, values in table.items()
        for subset, nats in values.items()
    ]
    return pd.DataFrame(rows)


def flat(value: float) -> dict[int, dict[str, float]]:
    return {epoch: dict.fromkeys(values, value) for epoch, values in HAND.items()}


@pytest.mark.parametrize(("normalise", "s_xt"), [("run", 0.375), ("epoch", 0.75)])
def test_the_hand_worked_table(normalise, s_xt):
    (row,) = stealth_scores(
        frame({XT: HAND, TY: flat(2.0)}), normalise=normalise, epochs=[1, 5], subsets=("clean",)
    ).to_dict("records")
    assert row["s_xt"] == pytest.approx(s_xt)
    assert row["s_ty"] == 0  # a constant normalises to 0
    assert row["score"] == pytest.approx(s_xt / 2)
    assert (
        row["normalise"],
        row["epochs_used"],
        row["subsets_used"],
        row["clean_classes_used"],
        row["reason"],
    ) == (
        normalise,
        "1,5",
        "clean",
        "1,2",
        None,
    )


FIVE_EPOCHS = {
    1: {"3": 0.0, "3_backdoor": 0.0, "3_clean": 0.0, "1": 2.0, "2": 2.0},
    5: {"3": 4.0, "3_backdoor": 2.0, "3_clean": 4.0, "1": 4.0, "2": 4.0},
    10: {"3": 3.0, "3_backdoor": 3.0, "3_clean": 3.0, "1": 3.0, "2": 3.0},
    20: {"3": 2.0, "3_backdoor": 0.0, "3_clean": 2.0, "1": 2.0, "2": 2.0},
    40: {"3": 2.0, "3_backdoor": 0.0, "3_clean": 2.0, "1": 1.0, "2": 1.0},
}


def test_all_subsets_and_four_phases_by_hand():
    (row,) = stealth_scores(frame({XT: FIVE_EPOCHS, TY: FIVE_EPOCHS}, target=3)).to_dict("records")
    # Peak at 5 (position 1 of 0..4), half-way to 4 rounded up is position 3: epoch 20; 10 is not used.
    assert row["epochs_used"] == "1,5,20,40"
    # Over the range 0..4: epoch 1: .5 .5 .5; 5: 0 .5 0; 20: 0 .5 0; 40: .25 .25 .25.
    assert row["score"] == pytest.approx((1.5 + 0.5 + 0.5 + 0.75) / 12)


@pytest.mark.parametrize(
    ("rule", "epochs", "score"),
    [
        ("first", "1", 1.5 / 3),
        ("peak", "5", 0.5 / 3),
        ("last", "40", 0.75 / 3),
        ("first-peak-last", "1,5,40", (1.5 + 0.5 + 0.75) / 9),
    ],
)
def test_the_other_rules_for_epochs_by_hand(rule, epochs, score):
    rows = frame({XT: FIVE_EPOCHS, TY: FIVE_EPOCHS}, target=3)
    (row,) = stealth_scores(rows, epochs=rule).to_dict("records")
    assert row["epochs_used"] == epochs and row["score"] == pytest.approx(score)


@pytest.mark.parametrize("snapshots", range(1, 8))
def test_the_epochs_of_many_curves_at_once_are_those_of_each(snapshots):
    curves = np.random.default_rng(snapshots).integers(0, 4, (40, snapshots)) / 10 + 0.1  # many ties
    epochs = list(range(10, 10 + snapshots))
    for curve, mask in zip(curves, _chosen(curves, epochs, "phases"), strict=True):
        assert set(np.array(epochs)[mask]) == set(phase_epochs(pd.Series(curve, index=epochs)).values())


def test_clean_classes_can_be_chosen_and_never_hold_the_target():
    (row,) = stealth_scores(
        frame({XT: HAND, TY: HAND}), epochs=[1, 5], subsets=("clean",), clean_classes=[0, 1]
    ).to_dict("records")
    assert row["clean_classes_used"] == "1"
    assert row["s_xt"] == pytest.approx((0.25 + 0.5) / 2)


def test_attack_none_is_scored_with_the_subset_it_has():
    table = {e: {"0": v["0_clean"], "1": v["1"], "2": v["2"]} for e, v in HAND.items()}
    (row,) = stealth_scores(frame({XT: table, TY: table}, attack="none")).to_dict("records")
    assert row["subsets_used"] == "all"
    assert row["score"] == pytest.approx(0.375)


def test_an_estimate_of_one_quantity_alone_is_no_candidate_for_a_score():
    """Bounds that are known of I(X;T) only, as the closed-set one."""
    alone = frame({XT: HAND}).assign(protocol="closed")
    scored = stealth_scores(pd.concat([alone, frame({XT: HAND, TY: HAND})]), subsets=("clean",))
    assert stealth_scores(alone).empty and len(scored) == 1 and scored["score"].notna().all()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (frame({XT: HAND, TY: {1: HAND[1]}}), "3 of 12 estimates missing"),
        (frame({XT: HAND, TY: {**HAND, 5: {**HAND[5], "1": np.nan}}}), "1 of 12 estimates missing"),
        (frame({q: {e: {"0_clean": 1.0} for e in HAND} for q in (XT, TY)}), "no clean class"),
        (frame({XT: HAND, TY: HAND}, attack="none"), "attack none has none of the subsets clean"),
        (frame({XT: HAND, TY: HAND}).assign(run_status="running"), "run status: running"),
    ],
)
def test_what_is_missing_gives_no_score_and_a_reason(rows, reason):
    (row,) = stealth_scores(rows, subsets=("clean",)).to_dict("records")
    assert np.isnan(row["score"]) and np.isnan(row["s_xt"]) and row["epochs_used"] is None
    assert row["reason"] == reason


def test_an_epoch_without_snapshot_is_missing():
    for normalise in ("run", "epoch"):
        scores = stealth_scores(
            frame({XT: HAND, TY: HAND}), normalise=normalise, epochs=[1, 7], subsets=("clean",)
        )
        assert scores["reason"].str.endswith("estimates missing").all()


def test_a_run_without_one_of_the_quantities_is_missing_it_and_a_protocol_without_it_is_left_out():
    half = frame({XT: HAND})
    assert stealth_scores(half, subsets=("clean",)).empty
    both = pd.concat([half, frame({XT: HAND, TY: HAND}).assign(run_id="r2")])
    reasons = stealth_scores(both, subsets=("clean",))["reason"]
    assert reasons.iloc[0] == "6 of 12 estimates missing" and pd.isna(reasons.iloc[1])


def test_no_rows_give_no_scores():
    assert stealth_scores(frame({XT: HAND}).iloc[:0]).empty


@pytest.mark.parametrize(
    "bad", [{"normalise": "x"}, {"epochs": "all"}, {"epochs": []}, {"subsets": ("sample",)}]
)
def test_wrong_options_are_refused(bad):
    with pytest.raises(ValueError, match=r"normalise|epochs"):
        stealth_scores(frame({XT: HAND}), **bad)


@pytest.mark.parametrize("seed", range(4))
def test_the_view_equals_the_function(seed):
    rng = np.random.default_rng(seed)
    con = open_database(":memory:")
    for i, attack in enumerate(["none", "badnets", "blend", "lc", "badnets"]):
        run = run_row(f"r{i}", attack=attack, target=int(rng.integers(0, 5)), seed=i)
        classes = tuple(c for c in (0, 1, 2, 10, 11) if c != run["target_class"])[: rng.integers(1, 5)]
        epochs = sorted(rng.choice(np.arange(1, 121), size=rng.integers(1, 9), replace=False).tolist())
        insert(con, "runs", [run])
        insert(con, "estimates", random_mi(rng, run, classes, epochs))
        insert(con, "estimates", random_mi(rng, run, classes, epochs, estimator="mine"))
    insert(
        con,
        "runs",
        [run_row("holes"), run_row("running", status="running"), run_row("bare"), run_row("flat")],
    )
    insert(
        con, "estimates", random_mi(rng, run_row("holes"), (1, 2))[:-3] + random_mi(rng, run_row("running"), (1,))
    )
    insert(con, "estimates", [mi_row("bare", 1, "0", q, None, status="failed") for q in (XT, TY)])
    insert(con, "estimates", [row | {"nats": 0.1} for row in random_mi(rng, run_row("flat"), (1, 2, 3))])
    con.execute(
        "UPDATE estimates SET nats = 'nan' WHERE run_id = 'r1' AND epoch = 1 AND subset = '1' AND estimator = 'mine'"
    )

    ours = stealth_scores(mi_rows(con))
    keys = ["run_id", "estimator", "protocol", "settings"]
    view = con.sql("SELECT * FROM stealth").df().sort_values(keys).reset_index(drop=True)
    assert len(view) == 13 and ours["score"].notna().sum() >= 9
    for column in ours.columns:
        if column in ("s_xt", "s_ty", "score"):
            np.testing.assert_allclose(view[column], ours[column], atol=1e-9, err_msg=column)
        else:
            pd.testing.assert_series_equal(
                view[column].astype(object).where(view[column].notna(), None),
                ours[column].astype(object).where(ours[column].notna(), None),
            )


def test_roles_in_the_view_and_in_the_function_agree():
    con = open_database(":memory:")
    insert(con, "runs", [run_row("a", target=3), run_row("b", attack="none", target=1)])
    names = ["3", "3_clean", "3_backdoor", "3_sample", "1", "13", "1_clean", "odd"]
    insert(con, "estimates", [mi_row(r, 1, s, XT, 1.0) for r in "ab" for s in names])
    rows = mi_rows(con)
    assert set(rows["role"]) == {"all", "clean", "backdoor", "sample", "clean class", "other"}
    assert (subset_roles(rows) == rows["role"]).all()


def test_table1_averages_over_seeds_only(plausible):
    with duckdb.connect(plausible / "results.duckdb") as con:
        (a, b) = con.execute("SELECT score FROM stealth WHERE attack = 'blend' ORDER BY seed").fetchall()
        assert con.execute("SELECT score, score_sd, seeds FROM table1 WHERE attack = 'blend'").fetchone() == (
            pytest.approx((a[0] + b[0]) / 2),
            pytest.approx(abs(a[0] - b[0]) / 2**0.5),
            2,
        )
        assert con.execute("SELECT asr FROM table1 WHERE attack = 'none'").fetchone() == (None,)
        # Same axes, other trigger parameters: another configuration, not another seed.
        con.execute("""UPDATE runs SET cell = json_merge_patch(cell, '{"attack": {"params": {"size": 5}}}')
                       WHERE run_id = 'blend-1'""")
        assert con.execute("SELECT count(*), max(seeds) FROM table1 WHERE attack = 'blend'").fetchone() == (
            2,
            1,
        )


def test_the_accuracy_is_the_last_epochs_and_only_of_finished_training(plausible):
    with duckdb.connect(plausible / "results.duckdb") as con:
        (last,) = con.execute(
            "SELECT test_acc FROM epochs WHERE run_id = 'blend-0' AND epoch = 20"
        ).fetchone()
        assert con.execute("SELECT test_acc FROM final_epochs WHERE run_id = 'blend-0'").fetchone() == (last,)
        con.execute("UPDATE runs SET status = 'failed' WHERE run_id = 'blend-0'")
        assert con.execute("SELECT count(*) FROM final_epochs").fetchone() == (6,)  # training itself is done
        con.execute("UPDATE stages SET status = 'running' WHERE run_id = 'blend-0' AND stage = 'train'")
        assert con.execute("SELECT count(*) FROM final_epochs").fetchone() == (5,)
