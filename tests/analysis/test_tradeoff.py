"""Stealth score against visibility: the joined table, and rank correlations with ties worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, spearmanr
from synthetic_results import insert, open_database

from analysis.db import read
from analysis.tradeoff import (
    GROUP,
    METRICS,
    RANKS,
    rank_correlation,
    rank_correlations,
    resampled_spearman,
    tradeoff,
)


def test_ties_by_hand():
    x, y = pd.Series([1.0, 2.0, 2.0, 4.0]), pd.Series([10.0, 30.0, 20.0, 20.0])
    # Ranks 1, 2.5, 2.5, 4 and 1, 4, 2.5, 2.5: products of the deviations 2.25 + 0 + 0 + 0, squares 4.5 and 4.5.
    assert rank_correlation(x, y, "spearman")["correlation"] == pytest.approx(2.25 / 4.5)
    # Six pairs: three with the first point and (2nd, 4th) discordant, one tied in x, one tied in y.
    # 3 concordant - 1 discordant over sqrt((6 - 1) (6 - 1)).
    assert rank_correlation(x, y, "kendall")["correlation"] == pytest.approx(2 / 5)


@pytest.mark.parametrize(("method", "reference"), [("spearman", spearmanr), ("kendall", kendalltau)])
def test_they_are_what_scipy_says(method, reference):
    rng = np.random.default_rng(0)
    for n in (3, 6, 20):
        x, y = (pd.Series(rng.integers(0, 5, n).astype(float)) for _ in range(2))
        if min(np.ptp(x), np.ptp(y)) > 0:
            found = rank_correlation(x, y, method)
            assert found["correlation"] == pytest.approx(reference(x, y).statistic) and found["n"] == n
            assert -1 <= found["ci_low"] <= found["ci_high"] <= 1


def test_the_interval_narrows_with_points_and_is_the_same_every_time():
    x = pd.Series(np.arange(40.0))
    y = x + np.random.default_rng(0).normal(0, 10, 40)
    few, many = rank_correlation(x[:8], y[:8], "spearman"), rank_correlation(x, y, "spearman")
    assert many["ci_high"] - many["ci_low"] < few["ci_high"] - few["ci_low"]
    assert many == rank_correlation(x, y, "spearman")


@pytest.mark.parametrize("method", ["spearman", "kendall"])
def test_without_three_points_or_without_spread_there_is_a_reason(method):
    two = rank_correlation(pd.Series([1.0, 2.0]), pd.Series([1.0, 2.0]), method)
    assert np.isnan(two["correlation"]) and two["reason"] == "2 of at least 3 points" and two["n"] == 2
    flat = rank_correlation(pd.Series([1.0, 2.0, 3.0]), pd.Series([5.0] * 3, name="psnr"), method)
    assert np.isnan(flat["ci_low"]) and flat["reason"] == "psnr is the same at every point"


def test_curves_are_resampled_with_their_owner():
    """Two owners: with one drawn twice the correlation is its own, so the ends of the interval are theirs."""
    pairs = [np.array([[1.0, 2, 3], [1, 2, 3]]), np.array([[1.0, 2, 3], [3, 2, 1]])]
    effect = resampled_spearman(pairs, ["a", "b"], seeds=2)
    assert effect.value == pytest.approx(0) and effect.interval(0.99) == pytest.approx((-1, 1)) and effect.n == 2
    assert np.isnan(resampled_spearman(pairs[:1], ["a"], seeds=2).interval(0.95)).all()


def test_the_table_joins_scores_and_visibility(plausible):
    with open_database(plausible / "results.duckdb") as con:
        con.execute("UPDATE perceptual SET value = 0.1 WHERE metric = 'lpips' AND run_id LIKE 'blend%'")
    with read(plausible) as con:
        table = tradeoff(con)
        scores = con.execute("SELECT attack, avg(score) FROM stealth GROUP BY ALL").fetchall()
    assert table["attack"].tolist() == ["badnets", "blend"]  # none has no trigger
    assert table.set_index("attack")["score"].to_dict() == pytest.approx({a: s for a, s in scores if a != "none"})
    assert table["seeds"].tolist() == [2, 2] and table["level"].tolist() == ["high", "high"]
    assert table["psnr"].tolist() == [25.0, 25.0] and np.isnan(table["lpips"][0]) and table["lpips"][1] == 0.1
    assert table["asr"].notna().all() and table["test_acc"].notna().all()


def test_every_group_has_a_row_per_metric_and_method(plausible):
    with open_database(plausible / "results.duckdb") as con:
        for i, attack in enumerate(("wanet", "ftrojan", "adap_blend")):
            for seed in (0, 1):
                new = {"run_id": f"{attack}-{seed}", "attack": attack}
                con.execute(
                    "INSERT INTO runs BY NAME SELECT * REPLACE (? AS run_id, ? AS attack) FROM runs WHERE run_id = ?",
                    [*new.values(), f"blend-{seed}"],
                )
                con.execute(
                    "INSERT INTO estimates BY NAME SELECT * REPLACE (? AS run_id, "
                    "nats + ? * (subset = '0_backdoor')::INT AS nats) FROM estimates WHERE run_id = ?",
                    [new["run_id"], i / 2, f"blend-{seed}"],
                )
                rows = [("psnr", 20.0 + i), ("ssim", 0.9 + i / 100)]
                insert(
                    con,
                    "perceptual",
                    [{"run_id": new["run_id"], "images": "test", "metric": m, "value": v, "n": 9} for m, v in rows],
                )
    with read(plausible) as con:
        table = tradeoff(con)
    ranks = rank_correlations(table)
    assert ranks.columns.tolist() == RANKS and len(ranks) == len(METRICS) * 2
    psnr = ranks.query("metric == 'psnr' and method == 'spearman'").iloc[0]
    assert psnr["n"] == 5 and psnr["correlation"] == pytest.approx(spearmanr(table["score"], table["psnr"]).statistic)
    assert psnr["attacks"] == "adap_blend,badnets,blend,ftrojan,wanet"
    lpips = ranks.query("metric == 'lpips'")
    assert lpips["correlation"].isna().all() and set(lpips["reason"]) == {"0 of at least 3 points"}
    assert rank_correlations(table.iloc[:0]).columns.tolist() == RANKS
    assert set(GROUP) < set(table.columns)
