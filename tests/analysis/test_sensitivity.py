"""Rankings of attacks that are known to move, and that are known not to."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest
from synthetic_results import mi_row, run_row

from analysis.scores import EPOCH_RULES
from analysis.sensitivity import COLUMNS, SUBSET_CHOICES, moves_by_option, sensitivity
from analysis.stealth import stealth_scores
from analysis.trajectories import TY, XT, mi_rows


def sweep(away: dict[str, dict[int, float]], estimator: str = "infonce") -> pd.DataFrame:
    """Runs whose subsets of class 0 lie `away` from the clean classes' 2 nats: {attack: {epoch: nats}}."""
    rows = []
    for attack, distances in away.items():
        run = run_row(attack, attack=attack)
        subsets = ["0"] if attack == "none" else ["0", "0_clean", "0_backdoor"]
        for epoch, distance in distances.items():
            values = dict.fromkeys(subsets, 2 + distance) | {"1": 0.0, "2": 4.0}
            rows += [run | mi_row(attack, epoch, s, q, n, estimator=estimator)
                     for q in (XT, TY) for s, n in values.items()]  # fmt: skip
    return pd.DataFrame(rows)


STEADY = {"badnets": {1: 0.1, 5: 0.1}, "blend": {1: 0.2, 5: 0.2}, "wanet": {1: 0.3, 5: 0.3}, "none": {1: 0.0, 5: 0.0}}


def test_a_steady_ranking_never_moves():
    table = sensitivity(sweep(STEADY), clean_classes=[None])
    assert len(table) == 2 * len(EPOCH_RULES) * len(SUBSET_CHOICES)
    assert set(table["tau"]) == {1.0} and set(table["largest_move"]) == {0} and set(table["n"]) == {3}
    assert set(table["ranking"]) == {"badnets 10 % < blend 10 % < wanet 10 %"}
    assert table["is_default"].sum() == 1
    baseline = table.set_index("subsets")["baseline"]
    assert baseline["clean,backdoor,all"].eq(0).all() and baseline["clean"].isna().all()


def test_a_ranking_that_turns_round_by_hand():
    """At epoch 1 badnets < blend < wanet, at epoch 5 blend < badnets < wanet, on the mean as at epoch 1."""
    away = {"badnets": {1: 0.1, 5: 0.3}, "blend": {1: 0.4, 5: 0.2}, "wanet": {1: 0.5, 5: 0.9}}
    table = sensitivity(sweep(away), clean_classes=[None], subsets=[("clean", "backdoor", "all")])
    table = table[table["normalise"] == "run"].set_index("epochs")
    assert table["is_default"].tolist() == [True, False, False, False, False]
    assert table.loc["first", ["tau", "mean_move", "largest_move"]].tolist() == [1, 0, 0]
    assert table.loc["last", ["tau", "mean_move", "largest_move"]].tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert table.loc["last", "stealthiest"] == "blend 10 %" and table.loc["last", "least_stealthy"] == "wanet 10 %"
    assert table.loc["last", "ranking"] == "blend 10 % < badnets 10 % < wanet 10 %"


def test_the_default_is_that_of_the_reference_estimate():
    backwards = {a: {e: 0.5 - d for e, d in v.items()} for a, v in STEADY.items() if a != "none"}
    mi = pd.concat([sweep(STEADY), sweep(backwards, "channel")])
    options = {"normalise": ["run"], "epochs": ["phases"], "clean_classes": [None], "subsets": SUBSET_CHOICES[:1]}
    table = sensitivity(mi, **options).set_index("estimator")
    assert table["tau"].to_dict() == {"channel": -1, "infonce": 1}
    assert table["is_default"].to_dict() == {"channel": False, "infonce": True}
    turned = sensitivity(mi, **options, reference=("channel", "paper")).set_index("estimator")
    assert turned["tau"].to_dict() == {"channel": 1, "infonce": -1}
    by_option = moves_by_option(sensitivity(mi, **options)).set_index(["option", "value"])
    assert by_option.loc[("estimator", "channel"), "tau_median"] == -1
    assert by_option.loc[("estimator", "channel"), "same_stealthiest"] == 0
    assert by_option.loc[("normalise", "run"), "combinations"] == 2


@pytest.mark.parametrize(
    ("mi", "reason", "n"),
    [
        (sweep({a: STEADY[a] for a in ("badnets", "blend")}), "2 of the 3 configurations that a comparison needs", 2),
        (sweep(dict.fromkeys(("badnets", "blend", "wanet"), STEADY["blend"])), "all scores tie", 3),
        (sweep({"none": STEADY["none"]}), "0 of the 3 configurations that a comparison needs", 0),
    ],
)
def test_where_there_is_no_tau_there_is_a_reason(mi, reason, n):
    table = sensitivity(mi, clean_classes=[None], subsets=SUBSET_CHOICES[:1])
    assert table["tau"].isna().all() and set(table["reason"]) == {reason} and set(table["n"]) == {n}
    assert moves_by_option(table).empty


def test_no_rows_give_no_rows():
    table = sensitivity(sweep(STEADY).iloc[:0])
    assert table.empty and list(table.columns) == COLUMNS


def test_the_scores_are_those_of_stealth_scores(plausible):
    with duckdb.connect(plausible / "results.duckdb") as con:
        mi = mi_rows(con)
    table = sensitivity(mi, clean_classes=[None, [1, 2]])
    for options in ({}, {"normalise": "epoch", "epochs": "peak", "clean_classes": [1, 2]}):
        scores = stealth_scores(mi, **options).groupby("attack")["score"].mean()
        row = table[
            (table["normalise"] == options.get("normalise", "run"))
            & (table["epochs"] == options.get("epochs", "phases"))
            & (table["subsets"] == "clean,backdoor,all")
            & (table["clean_classes"] == ("1,2" if options else "all"))
        ].iloc[0]
        ranked = scores.drop("none").sort_values().index
        assert row["ranking"] == " < ".join(f"{attack} 10 %" for attack in ranked)
        assert row["baseline"] == pytest.approx(scores["none"])


def test_the_sets_of_clean_classes():
    mi = sweep({"badnets": {1: 0.1}})
    third = mi[mi["subset"] == "1"].assign(subset="3", nats=1.0)
    sets = sensitivity(pd.concat([mi, third]))["clean_classes"].unique().tolist()
    assert sets == ["all", "2,3", "1,3", "1,2", "1", "2", "3"]
    assert sensitivity(mi)["clean_classes"].unique().tolist() == ["all", "2", "1"]
    assert np.isfinite(sensitivity(mi)["mean_move"]).any()
