"""Where T puts the backdoor images: maps to draw, and numbers computed on T itself (the paper's Figs. 4 and 8).

Stage `embed` of a sweep computes both. Runs by itself:

    python -m analysis.clusters results/quickstart
"""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
from scipy import stats

from analysis.trajectories import subset_roles

METRICS = {
    "silhouette": "silhouette of backdoor images within the target class (-1 to 1)",
    "subclusters": "sub-clusters among backdoor images (HDBSCAN)",
    "unclustered": "share of backdoor images outside them",
    "distance": "distance of backdoor to target class (RMS spreads of the target class)",
    "spread": "spread of backdoor images (RMS spreads of the target class)",
    "class_distance": "distance of other classes to the target class (its RMS spreads)",
}
"""What table `clusters` holds, and its units; ibray/embedding.py computes them."""

AXES = "dataset, attack, poison_ratio, ratio_of, target_class, architecture, sigma"
METRIC_COLUMNS = [
    "configuration", *AXES.split(", "), "epoch", "metric", "value", "ci_low", "ci_high", "sd", "seeds", "n",
]  # fmt: skip
POINT_COLUMNS = [
    "configuration", *AXES.split(", "), "run_id", "seed", "epoch", "method", "image", "subset", "role", "x", "y",
]  # fmt: skip

METRICS_SQL = f"""
SELECT g.configuration, {AXES}, c.epoch, c.metric, avg(c.value) AS value, stddev_samp(c.value) AS sd,
    count(c.value)::INTEGER AS seeds, max(c.n) AS n
FROM clusters c
JOIN runs r USING (run_id)
JOIN run_configurations g USING (run_id)
GROUP BY ALL
ORDER BY ALL"""

POINTS_SQL = f"""
SELECT g.configuration, {AXES}, e.run_id, r.seed, e.epoch, e.method, e.image, e.subset, e.x, e.y
FROM embeddings e
JOIN runs r USING (run_id)
JOIN run_configurations g USING (run_id)
ORDER BY ALL"""


def cluster_metrics(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """One row per configuration, epoch and metric: how the backdoor images lie to the target class in T.

    Columns `METRIC_COLUMNS`: `value` is the mean over `seeds` runs that have one, with standard deviation `sd` and
    Student's 95% interval over them, NaN for one; `n` the images that the metric is about. Units are in `METRICS`.
    Empty where the stage did not run.
    """
    rows = connection.execute(METRICS_SQL).df()
    half = stats.t.ppf(0.975, np.maximum(rows["seeds"] - 1, 1)) * rows["sd"] / np.sqrt(np.maximum(rows["seeds"], 1))
    return rows.assign(ci_low=rows["value"] - half, ci_high=rows["value"] + half)[METRIC_COLUMNS]


def cluster_points(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """One row per image of every map: columns `POINT_COLUMNS`.

    `role` is backdoor, clean (of the target class), 'clean class', or all where there is no backdoor; `image` is an
    index into the training set, the same images at every epoch of a run. `x` and `y` have no unit, and maps of
    different epochs are not aligned: only who lies beside whom means something.
    """
    rows = connection.execute(POINTS_SQL).df()
    return rows.assign(role=subset_roles(rows))[POINT_COLUMNS]


def _main() -> None:
    import sys

    from analysis.db import read

    with read(sys.argv[1]) as connection:
        print(cluster_metrics(connection).to_string(index=False))


if __name__ == "__main__":
    _main()
