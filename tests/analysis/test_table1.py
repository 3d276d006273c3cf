"""Ours beside the paper's Table I, and rank correlations with ties worked by hand."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr

from analysis.stealth import stealth_intervals
from analysis.table1 import (
    NOT_IN_PAPER,
    NOT_RUN,
    _kendall,
    _spearman,
    paper_table1,
    rank_agreement,
    table1,
    table1_agreement,
)
from analysis.trajectories import mi_rows


def our_rows(**scores) -> pd.DataFrame:
    """Rows as the view table1 has them, of attacks on cifar10 at 10% (clean label: 25% of the class)."""
    rows = []
    for attack, score in scores.items():
        ratio, of = {"lc": (0.25, "target_class"), "none": (0.0, "none")}.get(attack, (0.1, "train_set"))
        row = {"dataset": "cifar10", "attack": attack, "poison_ratio": ratio, "ratio_of": of}
        row |= {"architecture": "resnet18", "sigma": 0.4, "target_class": 0}
        row |= {"estimator": "infonce", "protocol": "paper", "settings": "s"}
        rows.append(row | {"s_xt": score, "s_ty": score, "score": score})
    return pd.DataFrame(rows)


def test_the_papers_scores_are_the_means_of_their_parts():
    paper = paper_table1()
    assert len(paper) == 14 and not paper[["dataset", "attack", "poison_ratio"]].duplicated().any()
    np.testing.assert_allclose((paper["s_xt"] + paper["s_ty"]) / 2, paper["score"], atol=1.5e-4)


def test_rows_match_by_dataset_attack_and_ratio():
    table = table1(our_rows(badnets=0.3, lc=0.5, none=0.1).assign(poison_ratio=lambda t: t["poison_ratio"] + 1e-12))
    assert len(table) == 15
    assert table["attack"].head(14).tolist() == paper_table1()["attack"].tolist()
    badnets = table.iloc[0]
    assert (badnets["paper_score"], badnets["score"]) == (0.2820, 0.3) and pd.isna(badnets["reason"])
    assert badnets["difference"] == pytest.approx(0.018)
    assert table[table["score"].notna()]["paper_score"].dropna().tolist() == [0.2820, 0.5281]  # lc at 25%, not 10%
    assert table["reason"].value_counts().to_dict() == {NOT_RUN: 12, NOT_IN_PAPER: 1}
    assert table.iloc[14]["attack"] == "none"
    assert set(table["estimator"]) == {"infonce"}  # of rows that are not run, too


def test_every_estimate_has_its_block():
    rows = our_rows(badnets=0.3, blend=0.4)
    table = table1(pd.concat([rows, rows.assign(protocol="certified", score=[0.5, np.nan])]))
    assert table.groupby("protocol").size().to_dict() == {"certified": 14, "paper": 14}
    assert table.groupby("protocol")["score"].count().to_dict() == {"certified": 1, "paper": 2}


@pytest.mark.parametrize("results", [our_rows(), our_rows(badnets=0.1).iloc[:0], our_rows(badnets=np.nan)])
def test_without_results_the_paper_stands_alone(results):
    table = table1(results)
    assert len(table) == 14 and set(table["reason"]) == {NOT_RUN} and table["score"].isna().all()
    agreement = table1_agreement(table)
    assert agreement["value"].isna().all() and set(agreement["n"]) == {0}


def test_the_view_and_the_intervals_of_a_sweep(plausible):
    with duckdb.connect(plausible / "results.duckdb") as con:
        view, intervals = table1(con.sql("FROM table1").df()), table1(stealth_intervals(mi_rows(con)))
    np.testing.assert_allclose(view["score"], intervals["score"])
    scored = intervals[intervals["score"].notna()]
    assert scored["attack"].tolist() == ["badnets", "blend", "none"] and scored["score_low"].notna().all()


def values(ours, papers, **options) -> dict[str, float]:
    return rank_agreement(pd.DataFrame({"score": ours}), papers, **options).set_index("statistic")["value"].to_dict()


@pytest.mark.parametrize(
    ("ours", "papers", "rho", "tau"),
    [
        ([1, 2, 2, 3], [1, 2, 3, 4], 4.5 / (4.5 * 5) ** 0.5, 5 / (5 * 6) ** 0.5),
        ([1, 2, 3], [3, 2, 1], -1, -1),
        ([1, 2, 3], [1, 3, 2], 0.5, 1 / 3),
        # Ties on both sides: of 6 pairs 4 agree and one ties on each side. Ranks less their mean: -1 -1 .5 1.5
        # and -1.5 0 0 1.5, whose product sums to 3.75 and either's squares to 4.5.
        ([1, 1, 2, 3], [1, 2, 2, 3], 3.75 / 4.5, 4 / 5),
        ([1, 2, np.nan, 3, 4], [1, 2, 9, 3, np.nan], 1, 1),
    ],
)
def test_correlations_by_hand(ours, papers, rho, tau):
    assert values(ours, papers) == {"spearman": pytest.approx(rho), "kendall": pytest.approx(tau)}


def test_those_of_the_draws_are_scipys():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 6, (40, 9)).astype(float), rng.integers(0, 6, 9).astype(float)
    np.testing.assert_allclose(_kendall(x, y), [kendalltau(row, y).statistic for row in x])
    np.testing.assert_allclose(_spearman(x, y), [spearmanr(row, y).statistic for row in x])


@pytest.mark.parametrize(
    ("ours", "papers", "reason"),
    [
        ([1.0, 2.0], [1, 2], "2 of the 3 pairs that a correlation needs"),
        ([], [], "0 of the 3 pairs that a correlation needs"),
        ([1.0, 1.0, 1.0], [1, 2, 3], "all scores of one side tie"),
    ],
)
def test_too_few_pairs_give_a_reason(ours, papers, reason):
    table = rank_agreement(pd.DataFrame({"score": pd.Series(ours, dtype=float)}), papers)
    assert table["value"].isna().all() and set(table["reason"]) == {reason} and set(table["n"]) == {len(ours)}


def test_no_interval_no_interval():
    table = rank_agreement(pd.DataFrame({"score": [1.0, 2.0, 3.0]}), [1, 2, 3])
    assert table["low"].isna().all() and set(table["with_interval"]) == {0}


def test_the_interval_is_that_of_the_draws():
    """Three scores of which the upper two are 0.1 apart, errors 0.1: they swap in 24% of the draws, tau 1 or 1/3."""
    ours = pd.DataFrame({"score": [0.0, 5.0, 5.1]})
    ours["score_low"], ours["score_high"] = ours["score"] - 0.196, ours["score"] + 0.196
    table = rank_agreement(ours, [1, 2, 3], seed=1).set_index("statistic")
    assert table.loc["kendall", ["value", "low", "high"]].tolist() == pytest.approx([1, 1 / 3, 1])
    assert table.loc["spearman", ["value", "low", "high"]].tolist() == pytest.approx([1, 0.5, 1])
    pd.testing.assert_frame_equal(table, rank_agreement(ours, [1, 2, 3], seed=1).set_index("statistic"))
    sure = ours.assign(score_low=ours["score"], score_high=ours["score"])
    assert rank_agreement(sure, [1, 2, 3])["low"].tolist() == [1, 1]


def test_agreement_by_dataset_and_estimate():
    table = table1(our_rows(badnets=0.1, blend=0.2, wanet=0.15, ftrojan=0.4))
    agreement = table1_agreement(table).set_index(["dataset", "statistic"])
    assert agreement.loc[("cifar10", "kendall"), "value"] == 1 and agreement.loc[("cifar10", "kendall"), "n"] == 4
    assert agreement.loc[("svhn", "kendall"), "n"] == 0 and np.isnan(agreement.loc[("svhn", "kendall"), "value"])
    assert set(agreement["protocol"]) == {"paper"}
