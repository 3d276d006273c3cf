"""What every estimate must satisfy whatever the truth is: entropies, data processing, ceilings, proven bounds.

Each check compares two numbers, `low` and `high`, of which low should not exceed high. Both are from the database
alone. Runs by itself:

    python -m analysis.bounds results/quickstart
"""

from __future__ import annotations

import duckdb
import pandas as pd

AXES = "r.dataset, r.attack, r.poison_ratio, r.ratio_of, r.architecture, r.sigma, r.seed"
KEY = ["run_id", "epoch", "subset", "estimator", "protocol", "settings"]
COLUMNS = [
    "check", *KEY, "quantity", "layer", "low", "low_name", "high", "high_name", "margin", "allowance", "passed",
    "detail", "dataset", "attack", "poison_ratio", "ratio_of", "architecture", "sigma", "seed",
]  # fmt: skip

SATURATED_NATS = 0.3  # below its ceiling an estimate says "at least this much"
SATURATED_SHARE = 0.9  # of the ceiling, for low ceilings
EXACT_NATS = 0.02  # how far an estimate of I(B;Y) may lie from the exact sum over counts

# Finished estimates. least and most: what the truth is proven to lie between, the value itself where nothing is proven
# and NULL where only the other end is. se: over images; an interval gives it only where it is not widened by bounds.
ESTIMATES = """
e AS (
    SELECT
        run_id, epoch, subset, quantity, layer, estimator, protocol, settings, nats, ceiling, negatives, n,
        lower_bound, upper_bound,
        coalesce(lower_bound, CASE WHEN upper_bound IS NULL THEN nats END) AS least,
        coalesce(upper_bound, CASE WHEN lower_bound IS NULL THEN nats END) AS most,
        coalesce(
            standard_error,
            CASE WHEN lower_bound IS NULL AND upper_bound IS NULL THEN (ci_high - ci_low) / 3.92 END, 0
        ) AS se
    FROM estimates
    WHERE status = 'done' AND isfinite(nats)
)"""

# Class sizes of the poisoned training set, from the losses of its classes. A class is a subset that is a number.
COUNTS = """
classes AS (
    SELECT l.run_id, l.epoch, l.subset, l.n, sum(l.n) OVER (PARTITION BY l.run_id, l.epoch) AS total,
        l.subset = r.target_class::VARCHAR AS is_target
    FROM class_losses l
    JOIN runs r USING (run_id)
    WHERE regexp_full_match(l.subset, '\\d+') AND l.n > 0
), backdoors AS (
    SELECT l.run_id, l.epoch, l.n
    FROM class_losses l
    JOIN runs r USING (run_id)
    WHERE l.subset = r.target_class || '_backdoor'
), sets AS (
    SELECT
        c.run_id, c.epoch, any_value(c.total) AS total, count(*) AS k, coalesce(any_value(b.n), 0) AS backdoor,
        max(c.n) FILTER (c.is_target) AS of_target,
        -sum(c.n / c.total * ln(c.n / c.total)) AS h_y,
        -- Y given B = 0: the backdoor images gone from the target class
        -sum(
            CASE WHEN c.n > coalesce(b.n, 0) OR NOT c.is_target THEN
                (c.n - if(c.is_target, coalesce(b.n, 0), 0)) / (c.total - coalesce(b.n, 0))
                * ln((c.n - if(c.is_target, coalesce(b.n, 0), 0)) / (c.total - coalesce(b.n, 0)))
            END
        ) AS h_y_benign
    FROM classes c
    LEFT JOIN backdoors b USING (run_id, epoch)
    GROUP BY c.run_id, c.epoch
)"""

# H(B) of the images of an estimate: exact where the same images have the sum over counts, else from the set's counts.
ENTROPIES = """
exact AS (
    SELECT run_id, epoch, subset, quantity, avg(nats) AS nats FROM e
    WHERE estimator = 'plugin' AND protocol = 'certified' GROUP BY ALL
), shares AS (
    SELECT
        e.run_id, e.epoch, e.subset,
        any_value(s.backdoor / CASE e.subset WHEN 'whole' THEN s.total ELSE s.of_target END) AS share
    FROM e
    JOIN sets s USING (run_id, epoch)
    GROUP BY ALL
), entropies AS (
    SELECT
        run_id, epoch, subset,
        coalesce(
            x.nats,
            CASE WHEN share > 0 AND share < 1 THEN -share * ln(share) - (1 - share) * ln(1 - share) ELSE 0 END
        ) AS h_b,
        CASE WHEN x.nats IS NULL THEN 'H(B) from class counts' ELSE 'H(B), exact over the same images' END AS named
    FROM shares
    LEFT JOIN (FROM exact WHERE quantity = 'I(X;B)') x USING (run_id, epoch, subset)
)"""

ROW = "e.run_id, e.epoch, e.subset, e.estimator, e.protocol, e.settings, e.quantity, e.layer"

# Fano's inequality on the whole training set: whoever errs with probability p among K classes knows at least
# H(Y) - H_b(p) - p ln(K - 1) of Y, and Yhat, T and X all know no less.
FANO = f"""
SELECT
    'fano' AS "check", {ROW},
    s.h_y - CASE WHEN p.p > 0 AND p.p < 1 THEN -p.p * ln(p.p) - (1 - p.p) * ln(1 - p.p) ELSE 0 END
        - p.p * ln(s.k - 1) AS low,
    'H(Y) - H_b(p) - p ln(K-1), p = 1 - train_acc' AS low_name, e.most AS high,
    e.quantity || if(e.upper_bound IS NULL, '', ', proven upper bound') AS high_name, 1.96 * e.se AS allowance,
    format('H(Y) = {{:.4f}} nats of the labels trained on, K = {{}}, p = {{:.4f}} over the epoch', s.h_y, s.k, p.p)
        AS detail
FROM e
JOIN sets s USING (run_id, epoch)
JOIN (SELECT run_id, epoch, 1 - train_acc AS p FROM epochs) p USING (run_id, epoch)
WHERE e.subset = 'whole' AND e.quantity IN ('I(X;Yhat)', 'I(X;T)', 'I(T;Yhat)') AND e.layer IN ('T', 'output')
    AND s.k > 1"""

DPI = """
SELECT
    '{check}' AS "check", e.run_id, e.epoch, e.subset, e.estimator, e.protocol, e.settings, 'I(X;Yhat)' AS quantity,
    e.layer, e.least AS low, 'I(X;Yhat)' || if(e.lower_bound IS NULL, '', ', proven lower bound') AS low_name,
    o.most AS high, '{other}' || if(o.upper_bound IS NULL, '', ', proven upper bound') AS high_name,
    1.96 * sqrt(e.se ** 2 + o.se ** 2) AS allowance,
    'values ' || format('{{:.4f}} and {{:.4f}}', e.nats, o.nats) AS detail
FROM e
JOIN e o USING (run_id, epoch, subset, estimator, protocol, settings)
WHERE e.quantity = 'I(X;Yhat)' AND o.quantity = '{other}' AND o.layer = 'T'"""

ENTROPY_B = f"""
SELECT
    'entropy_b' AS "check", {ROW}, e.least AS low,
    e.quantity || if(e.lower_bound IS NULL, '', ', proven lower bound') AS low_name,
    h.h_b AS high, h.named AS high_name, 1.96 * e.se AS allowance, NULL AS detail
FROM e
JOIN entropies h USING (run_id, epoch, subset)
WHERE e.quantity IN ('I(X;B)', 'I(B;Yhat)') AND e.estimator <> 'plugin'"""

EXACT_BY = f"""
SELECT
    'exact_by' AS "check", {ROW}, abs(e.nats - t.truth) AS low, 'distance of I(B;Y) from its exact value' AS low_name,
    {EXACT_NATS} AS high, 'limit' AS high_name, 1.96 * e.se AS allowance,
    format('estimate {{:.4f}}, exact {{:.4f}} ({{}})', e.nats, t.truth, t.named) AS detail
FROM e
JOIN (
    SELECT s.run_id, s.epoch, coalesce(x.nats, s.h_y - (1 - s.backdoor / s.total) * s.h_y_benign) AS truth,
        CASE WHEN x.nats IS NULL THEN 'from class counts' ELSE 'over the same images' END AS named
    FROM sets s
    LEFT JOIN (FROM exact WHERE quantity = 'I(B;Y)' AND subset = 'whole') x USING (run_id, epoch)
) t USING (run_id, epoch)
WHERE e.quantity = 'I(B;Y)' AND e.subset = 'whole' AND e.estimator <> 'plugin'"""

CEILING = f"""
SELECT
    'ceiling' AS "check", {ROW}, e.nats AS low, 'value' AS low_name,
    greatest(0, least(e.ceiling - {SATURATED_NATS}, {SATURATED_SHARE} * e.ceiling)) AS high,
    'ceiling less {SATURATED_NATS} nats, or {SATURATED_SHARE:.0%} of it' AS high_name, 0 AS allowance,
    format('ceiling {{:.4f}}', e.ceiling) AS detail
FROM e
WHERE e.ceiling IS NOT NULL AND isfinite(e.ceiling) AND e.estimator <> 'plugin'"""

LOG_N = f"""
SELECT
    'log_n' AS "check", {ROW}, e.least AS low,
    'value' || if(e.lower_bound IS NULL, '', ', proven lower bound') AS low_name,
    ln(e.n) AS high, 'ln n' AS high_name, 1.96 * e.se AS allowance, format('n = {{}}', e.n) AS detail
FROM e
WHERE e.protocol IN ('paper', 'closed', 'population') AND e.quantity LIKE 'I(X;%' AND e.n > 0"""

NEGATIVES = f"""
SELECT
    'negatives' AS "check", {ROW}, e.nats AS low, 'value' AS low_name, ln(e.negatives + 1) AS high,
    'ln(negatives + 1)' AS high_name, 0 AS allowance, format('{{}} negatives', e.negatives) AS detail
FROM e
WHERE e.negatives IS NOT NULL AND e.estimator IN ('infonce', 'channel')"""

# A value inside an interval is a value that exceeds neither end by more: low and high are the end that is nearer.
CERTIFIED_INTERVAL = f"""
SELECT
    'certified_interval' AS "check", {ROW},
    if(above, e.nats, c.lower_bound) AS low, if(above, e.quantity, 'certified lower bound') AS low_name,
    if(above, c.upper_bound, e.nats) AS high, if(above, 'certified upper bound', e.quantity) AS high_name,
    1.96 * sqrt(e.se ** 2 + c.se ** 2) AS allowance,
    'value ' || format('{{:.4f}}', e.nats) || ' in [' || format('{{:.4f}}', c.lower_bound) || ', '
        || coalesce(format('{{:.4f}}', c.upper_bound), 'not known') || ']' AS detail
FROM (SELECT * FROM e WHERE protocol IN ('paper', 'population')) e
JOIN (
    SELECT
        run_id, epoch, subset, quantity, layer, max(lower_bound) AS lower_bound, min(upper_bound) AS upper_bound,
        max(se) AS se
    FROM e WHERE protocol = 'certified' AND lower_bound IS NOT NULL
    GROUP BY ALL
) c USING (run_id, epoch, subset, quantity, layer),
LATERAL (SELECT coalesce(c.upper_bound - e.nats < e.nats - c.lower_bound, false) AS above)"""

CHECKS = {
    "fano": FANO,
    "dpi_xt": DPI.format(check="dpi_xt", other="I(X;T)"),
    "dpi_ty": DPI.format(check="dpi_ty", other="I(T;Yhat)"),
    "entropy_b": ENTROPY_B,
    "exact_by": EXACT_BY,
    "ceiling": CEILING,
    "log_n": LOG_N,
    "negatives": NEGATIVES,
    "certified_interval": CERTIFIED_INTERVAL,
}

ALL_CHECKS = " UNION ALL BY NAME ".join(f"({sql})" for sql in CHECKS.values())

JUDGED = f"""
WITH {ESTIMATES}, {COUNTS}, {ENTROPIES}, checks AS ({ALL_CHECKS}), judged AS (
    SELECT
        * EXCLUDE (allowance), coalesce(allowance, 0) AS allowance, high - low AS margin,
        high - low >= -coalesce(allowance, 0) - 1e-9 AS passed
    FROM checks
)"""

SQL = f"""{JUDGED}
SELECT c.*, {AXES} FROM judged c JOIN runs r USING (run_id) WHERE NOT $only_failed OR NOT passed
ORDER BY c."check", c.run_id, c.epoch, c.subset, c.estimator, c.protocol, c.settings, c.quantity, c.layer"""

SUMMARY = f"""{JUDGED}
SELECT
    "check", estimator, protocol, count(*) FILTER (passed) AS passed, count(*) FILTER (NOT passed) AS failed,
    count(*) FILTER (passed IS NULL) AS unknown, min(margin) AS worst_margin
FROM judged SEMI JOIN runs USING (run_id) GROUP BY ALL ORDER BY ALL"""


def bounds(connection: duckdb.DuckDBPyConnection, *, only_failed: bool = False) -> pd.DataFrame:
    """One row per check, run, epoch, subset, estimate: what was compared, whether it held, with which margin.

    only_failed: leave out what passed or cannot be decided; about three rows an estimate are many for a large sweep.

    Checks (all in nats):
        fano: on subset `whole`, Fano's bound of the labels trained on at the epoch's training error (measured while
            the network trained, so it is of about this snapshot) is at most I(X;Yhat), I(X;T), I(T;Yhat).
        dpi_xt, dpi_ty: I(X;Yhat) is at most I(X;T) and I(T;Yhat), by the same estimator on the same images.
        entropy_b: I(X;B) and I(B;Yhat) are at most H(B).
        exact_by: I(B;Y) is within `EXACT_NATS` of its exact value.
        ceiling: the value is not within 0.3 nats, nor above 90%, of the largest its estimator can return; if it is,
            it says "at least this much".
        log_n: no critic or closed set shows more of X than ln n.
        negatives: the value is at most ln(negatives + 1).
        certified_interval: a `paper` or `population` value lies between the certified bounds of its quantity.

    Returns:
        Columns `COLUMNS`. `low` should be at most `high`; `margin` is high - low; `allowance` is 1.96 standard errors
        over images of the two, by which it may be negative and still pass. Where an estimator proves bounds, those
        are compared: a check fails only if the truth cannot satisfy it. `passed` is None where a bound that is
        needed is not known.
    """
    rows = connection.execute(SQL, {"only_failed": only_failed}).df()
    rows["passed"] = rows["passed"].astype("boolean")
    return rows[COLUMNS]


def bounds_summary(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Per check, estimator and protocol: how many passed, failed and are `unknown`, and the worst margin in nats."""
    return connection.execute(SUMMARY).df()


def _main() -> None:
    import sys

    from analysis.db import read

    with read(sys.argv[1]) as connection:
        print(bounds_summary(connection).to_string(index=False))


if __name__ == "__main__":
    _main()
