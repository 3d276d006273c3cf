"""Does a trigger that the eye misses also hide in the network? Stealth score against visibility, ASR and accuracy.

The paper's Fig. 10. Runs by itself:

    python -m analysis.tradeoff results/attacks_cpu
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import duckdb
import numpy as np
import pandas as pd
from scipy.stats import rankdata

from analysis.intervals import Effect, resampled
from analysis.settings import ratio_level

METRICS = ["lpips", "psnr", "ssim", "asr", "test_acc"]
GROUP = ["dataset", "architecture", "sigma", "target_class", "level", "estimator", "protocol", "settings"]
METHODS = ("spearman", "kendall")
FEWEST = 3  # points: two always lie on a line
DRAWS = 2000  # of the bootstrap
RANKS = [
    *GROUP, "metric", "method", "correlation", "ci_low", "ci_high", "n", "attacks", "reason",
]  # fmt: skip

SQL = """
SELECT
    t.configuration, t.dataset, t.attack, t.poison_ratio, t.ratio_of, t.architecture, t.sigma, t.target_class,
    t.estimator, t.protocol, t.settings, t.s_xt, t.s_ty, t.score, t.score_sd, t.seeds, t.asr, t.test_acc,
    g.psnr, g.ssim, g.lpips, g.psnr_sd, g.ssim_sd, g.lpips_sd
FROM table1 t
JOIN (SELECT configuration, any_value(attack_params) AS attack_params FROM configurations GROUP BY ALL) c
    USING (configuration)
LEFT JOIN (FROM triggers WHERE images = 'test') g
    ON g.dataset = t.dataset AND g.attack = t.attack AND g.attack_params = c.attack_params
WHERE t.attack <> 'none'
ORDER BY t.dataset, t.architecture, t.sigma, t.attack, t.poison_ratio, t.estimator, t.protocol, t.settings,
    t.configuration"""


def tradeoff(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """One row per attacked configuration and estimate: its stealth score beside how visible its trigger is.

    Columns: `configuration` and its axes; `level` of the poison ratio (analysis.settings); `estimator`, `protocol`,
    `settings`; `s_xt`, `s_ty`, `score` (0 to 1, lower is stealthier) with `score_sd` over `seeds`; `asr` and `test_acc`
    (fractions, last epoch); `psnr` (dB), `ssim`, `lpips` of triggered test images against the same without (view
    `triggers`), NaN where they were not measured.
    """
    rows = connection.execute(SQL).df()
    rows.insert(5, "level", ratio_level(rows))
    return rows


def rank_correlations(
    table: pd.DataFrame, *, by: Sequence[str] = GROUP, draws: int = DRAWS, seed: int = 0
) -> pd.DataFrame:
    """Rank correlation of `score` with every metric over the configurations of a group.

    Args:
        table: as `tradeoff` gives it.
        by: what makes a group; the rest is pooled.
        draws, seed: of the bootstrap.

    Returns:
        Columns `RANKS`: one row per group, metric (`METRICS`) and method, Spearman's rho or Kendall's tau-b, with
        the 95% percentile interval over configurations drawn with replacement and `n` configurations that have both
        numbers. A positive correlation with `lpips` says that visible triggers stand out more in the network. NaN
        with a `reason` below 3 points or where one side is constant. With six attacks the interval is wide, and it
        does not know of the spread over seeds.
    """
    found = []
    for key, group in table.groupby(list(by), sort=True, dropna=False):
        for metric in METRICS:
            pairs = group[["score", metric]].astype(float)
            there = pairs[np.isfinite(pairs).all(axis=1)]
            attacks = ",".join(sorted(set(group.loc[there.index, "attack"])))
            for method in METHODS:
                row = dict(zip(by, key, strict=True)) | {"metric": metric, "method": method, "attacks": attacks}
                found.append(row | rank_correlation(there["score"], there[metric], method, draws=draws, seed=seed))
    return pd.DataFrame(found, columns=[*by, *RANKS[len(GROUP) :]])


def rank_correlation(x: pd.Series, y: pd.Series, method: str, *, draws: int = DRAWS, seed: int = 0) -> dict:
    """`correlation`, `ci_low`, `ci_high`, `n` and `reason` of two finite columns; method: 'spearman' or 'kendall'.

    Tied values share the mean of their ranks (Spearman) or enter tau-b's denominators (Kendall). Resamples in which a
    side is constant have no correlation and are left out of the interval.

    >>> found = rank_correlation(pd.Series([1, 2, 2, 3]), pd.Series([1, 3, 2, 4]), "kendall")
    >>> round(found["correlation"], 4)  # 5 concordant pairs, 1 tied in x: 5 / sqrt(5 * 6)
    0.9129
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    nothing = {"correlation": np.nan, "ci_low": np.nan, "ci_high": np.nan, "n": len(a)}
    if len(a) < FEWEST:
        return nothing | {"reason": f"{len(a)} of at least {FEWEST} points"}
    for name, values in ((getattr(x, "name", None) or "one side", a), (getattr(y, "name", None) or "one side", b)):
        if np.ptp(values) == 0:
            return nothing | {"reason": f"{name} is the same at every point"}
    correlate = {"spearman": _spearman, "kendall": _kendall}[method]
    chosen = np.random.default_rng(seed).integers(0, len(a), (draws, len(a)))
    low, high = np.nanquantile(correlate(a[chosen], b[chosen]), [0.025, 0.975])
    (value,) = correlate(a[None], b[None])
    return nothing | {"correlation": float(value), "ci_low": float(low), "ci_high": float(high), "reason": None}


def resampled_spearman(pairs: Sequence[np.ndarray], names: Sequence[str], seeds: int) -> Effect:
    """Spearman's correlation over all points of curves, with a bootstrap over what the curves belong to.

    pairs: (2, points) each, both sides of a curve. names: of its owner; owners are drawn with all their curves. seeds:
    behind each point. NaN below 3 points or where a side is constant.
    """
    owners = sorted(set(names))
    curves = [
        np.concatenate([curve for curve, name in zip(pairs, names, strict=True) if name == owner], axis=1)
        for owner in owners
    ]

    def correlations(resamples: Iterable[Sequence[int]]) -> np.ndarray:
        by_length: dict[int, list[np.ndarray]] = defaultdict(list)  # those of one length are ranked at once
        for chosen in resamples:
            points = np.concatenate([curves[i] for i in chosen], axis=1)
            by_length[points.shape[1]].append(points)
        found = [
            _spearman(*np.stack(same, axis=1)) if length >= FEWEST else np.full(len(same), np.nan)
            for length, same in by_length.items()
        ]
        return np.concatenate(found) if found else np.array([])

    (value,) = correlations([range(len(owners))])
    # Of a single owner every resample is the same: there is no interval.
    alone = len(owners) < 2
    drawn = [] if alone else np.random.default_rng(0).integers(0, len(owners), (DRAWS, len(owners)))
    return resampled(float(value), correlations(drawn), seeds, "rank correlation")


def _spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the ranks, row by row of (draws, n); NaN where a side is constant."""
    a, b = (each - each.mean(1, keepdims=True) for each in (rankdata(a, axis=1), rankdata(b, axis=1)))
    return _ratio((a * b).sum(1), np.sqrt((a**2).sum(1) * (b**2).sum(1)))


def _kendall(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Tau-b row by row: concordant less discordant pairs over the geometric mean of the pairs not tied in each."""
    first, second = np.triu_indices(a.shape[1], 1)
    a, b = (np.sign(each[:, first] - each[:, second]) for each in (a, b))
    return _ratio((a * b).sum(1), np.sqrt(np.abs(a).sum(1) * np.abs(b).sum(1)))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def _main() -> None:
    import sys

    from analysis.db import read

    with read(sys.argv[1]) as connection:
        table = tradeoff(connection)
    print(table.to_string(index=False))
    print(rank_correlations(table).to_string(index=False))


if __name__ == "__main__":
    _main()
