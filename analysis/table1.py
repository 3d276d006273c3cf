"""The paper's Table I beside ours, and how far the two rankings agree."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, rankdata, spearmanr

from analysis.uncertainty import Z95, draws

PAPER = Path(__file__).with_name("paper_table1.csv")
KEYS = ["dataset", "attack", "poison_ratio", "ratio_of"]
BLOCK = ["architecture", "sigma", "target_class", "estimator", "protocol", "settings"]
SCORES = ["s_xt", "s_ty", "score"]
RATIO_DECIMALS = 6
FEWEST = 3  # pairs: two are in the same order or not by tossing a coin
NOT_RUN, NOT_IN_PAPER = "no score of ours", "not in the paper's Table I"
AGREEMENT = ["statistic", "value", "low", "high", "n", "with_interval", "reason"]


def paper_table1() -> pd.DataFrame:
    """The 14 rows of Table I (arXiv 2511.21923; ResNet-18, sigma 0.4, target 0): scores in [0, 1]."""
    return pd.read_csv(PAPER)


def table1(results: pd.DataFrame) -> pd.DataFrame:
    """Our scores beside the paper's: every row of the paper, and ours that it lacks, under each of our estimates.

    Args:
        results: as `analysis.stealth.stealth_intervals` or the view `table1` gives them; `dataset`, `attack`,
            `poison_ratio`, `ratio_of`, `s_xt`, `s_ty`, `score` and whichever there are of `BLOCK`,
            `configuration`, `score_low`, `score_high`, `score_sd`, `seeds`. Rows without a score count as not run.

    Returns:
        One block of rows for each combination of `BLOCK` in `results`, in the paper's order, then ours alone:
        `KEYS`, `BLOCK`, `paper_s_xt`, `paper_s_ty`, `paper_score`, ours under their own names, `difference` (our
        score less the paper's) and `reason`: 'no score of ours', "not in the paper's Table I" or missing. Rows
        match by dataset, attack, ratio and what it is a ratio of; several configurations of ours may match one.
    """
    paper = paper_table1().rename(columns={name: f"paper_{name}" for name in SCORES})
    paper["order"] = range(len(paper))
    block = [b for b in BLOCK if b in results]
    extra = [c for c in ("configuration", "score_low", "score_high", "score_sd", "seeds") if c in results]
    ours = results.loc[results["score"].notna(), [*KEYS, *block, *SCORES, *extra]] if len(results) else results
    if ours.empty:
        blank = dict.fromkeys([*SCORES, "difference"], np.nan)
        return paper.drop(columns="order").assign(**blank, reason=NOT_RUN)
    groups = [((), ours)] if not block else ours.groupby(block, sort=True, dropna=False)
    merged = [_merge(paper, group, dict(zip(block, key, strict=True))) for key, group in groups]
    table = pd.concat(merged, ignore_index=True)
    table["difference"] = table["score"] - table["paper_score"]
    table["reason"] = None
    table.loc[table["score"].isna(), "reason"] = NOT_RUN
    table.loc[table["paper_score"].isna(), "reason"] = NOT_IN_PAPER
    paper_columns = [f"paper_{name}" for name in SCORES]
    return table[[*KEYS, *block, *paper_columns, *SCORES, *extra, "difference", "reason"]]


def _merge(paper: pd.DataFrame, ours: pd.DataFrame, block: dict) -> pd.DataFrame:
    left, right = (rows.assign(poison_ratio=rows["poison_ratio"].round(RATIO_DECIMALS)) for rows in (paper, ours))
    merged = left.merge(right.drop(columns=list(block)), on=KEYS, how="outer")
    return merged.sort_values(["order", *KEYS], kind="stable").assign(**block)


def rank_agreement(
    ours: pd.DataFrame, papers: Iterable[float], *, resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Spearman's rho and Kendall's tau-b between our scores and the paper's.

    Args:
        ours: `score`, and `score_low`, `score_high` (95%) where known; papers: its scores in the same order.
            Pairs with a missing score are left out.
        resamples: our scores are drawn anew from their intervals (a two-piece normal; a score without one
            stays), the paper's are taken as given: it states no uncertainty. Draws blur an order that is
            close, so the intervals lie on the low side of a high value.

    Returns:
        Rows 'spearman' and 'kendall': `value` in [-1, 1]; `low`, `high`, the middle 95% of the draws, NaN where no
        score has an interval; `n` pairs; `with_interval`, how many of them have one; `reason` where the value is
        NaN: fewer than 3 pairs, or one side all ties.

    By hand, with a tie: ours 1, 2, 2, 3 against 1, 2, 3, 4. Of 6 pairs 5 agree and 1 ties on our side:
    tau-b = 5 / sqrt(5 x 6) = 0.913. Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: rho = 4.5 / sqrt(4.5 x 5) = 0.949.
    """
    score, low, high = (_floats(ours, name) for name in ("score", "score_low", "score_high"))
    paper = np.asarray(list(papers), dtype=float)
    pairs = np.isfinite(score) & np.isfinite(paper)
    score, low, high, paper = score[pairs], low[pairs], high[pairs], paper[pairs]
    n, known = len(score), int((np.isfinite(low) & np.isfinite(high)).sum())
    reason = None
    if n < FEWEST:
        reason = f"{n} of the {FEWEST} pairs that a correlation needs"
    elif len(set(score)) == 1 or len(set(paper)) == 1:
        reason = "all scores of one side tie"
    values, ends = [np.nan, np.nan], np.full((2, 2), np.nan)
    if reason is None:
        values = [float(spearmanr(score, paper).statistic), float(kendalltau(score, paper).statistic)]
        if known and resamples:
            normal = np.random.default_rng(seed).standard_normal((resamples, n))
            below, above = (np.maximum(side, 0) / Z95 for side in (score - low, high - score))
            drawn = draws(score, below, above, normal)
            ends = [np.nanpercentile(f(drawn, paper), [2.5, 97.5]) for f in (_spearman, _kendall)]
    rows = [
        (name, value, *end, n, known, reason)
        for name, value, end in zip(("spearman", "kendall"), values, ends, strict=True)
    ]
    return pd.DataFrame(rows, columns=AGREEMENT)


def table1_agreement(table: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """`rank_agreement` in every block of `table1(results)`, per dataset and over 'all' of them.

    Returns:
        The columns of `BLOCK` there are, `dataset`, `AGREEMENT`; 'all' only where two datasets have rows of ours.
        Configurations of the paper that match several of ours enter as often.
    """
    block = [b for b in BLOCK if b in table]
    groups = [((), table)] if not block else table.groupby(block, sort=True, dropna=False)
    parts = []
    for key, rows in groups:
        paper_rows = rows[rows["paper_score"].notna()]
        ours = paper_rows.loc[paper_rows["score"].notna(), "dataset"].nunique()
        for dataset in (*["all"] * (ours > 1), *sorted(paper_rows["dataset"].unique())):
            here = paper_rows if dataset == "all" else paper_rows[paper_rows["dataset"] == dataset]
            result = rank_agreement(here, here["paper_score"], resamples=resamples, seed=seed)
            parts.append(result.assign(**dict(zip(block, key, strict=True)), dataset=dataset))
    return pd.concat(parts, ignore_index=True)[[*block, "dataset", *AGREEMENT]]


def _floats(rows: pd.DataFrame, name: str) -> np.ndarray:
    return rows[name].to_numpy(dtype=float, na_value=np.nan) if name in rows else np.full(len(rows), np.nan)


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Rank correlation of each row of x (draws, n) with y (n), ties at their mean rank."""
    a, b = rankdata(x, axis=1), rankdata(y)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean()
    with np.errstate(invalid="ignore"):
        return a @ b / np.sqrt((a**2).sum(axis=1) * (b**2).sum())


def _kendall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """tau-b of each row of x (draws, n) with y (n)."""
    i, j = np.triu_indices(len(y), 1)
    a, b = np.sign(x[:, i] - x[:, j]), np.sign(y[i] - y[j])
    with np.errstate(invalid="ignore"):
        return a @ b / np.sqrt((a**2).sum(axis=1) * (b**2).sum())
