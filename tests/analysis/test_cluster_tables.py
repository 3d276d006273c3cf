"""Numbers and maps of stage embed, read back: intervals over seeds, roles, databases without them."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_results import insert, open_database, run_row

from analysis.clusters import METRIC_COLUMNS, METRICS, POINT_COLUMNS, cluster_metrics, cluster_points
from analysis.db import read


@pytest.fixture
def embedded(tmp_path):
    """Two seeds of BadNets and one of none, one map each."""
    with open_database(tmp_path / "results.duckdb") as con:
        for attack, seed, distance in [("badnets", 0, 2.0), ("badnets", 1, 4.0), ("none", 0, None)]:
            run = run_row(f"{attack}-{seed}", attack=attack, seed=seed)
            insert(con, "runs", [run])
            key = {"run_id": run["run_id"], "epoch": 20}
            subsets = ["0", "1"] if attack == "none" else ["0_backdoor", "0_clean", "1"]
            insert(
                con,
                "embeddings",
                [{**key, "image": i, "subset": s, "method": "tsne", "x": i, "y": -i} for i, s in enumerate(subsets)],
            )
            metrics = [{**key, "metric": "class_distance", "value": 5.0, "n": 40}]
            if distance is not None:
                metrics += [{**key, "metric": "distance", "value": distance, "n": 30}]
                metrics += [{**key, "metric": "silhouette", "value": 0.5 if seed == 0 else None, "n": 30}]
            insert(con, "clusters", metrics)
    return tmp_path


def test_metrics_have_means_and_intervals_over_seeds(embedded):
    with read(embedded) as con:
        rows = cluster_metrics(con)
    assert rows.columns.tolist() == METRIC_COLUMNS and set(rows["metric"]) <= set(METRICS)
    badnets = rows[rows["attack"] == "badnets"].set_index("metric")
    # 2 and 4: mean 3, standard error 1, t of one degree of freedom 12.706.
    assert badnets.loc["distance", ["value", "ci_low", "ci_high"]].tolist() == pytest.approx([3, -9.7062, 15.7062])
    assert badnets.loc["distance", ["seeds", "n"]].tolist() == [2, 30]
    assert badnets.loc["silhouette", ["value", "seeds"]].tolist() == [0.5, 1]
    assert np.isnan(badnets.loc["silhouette", "ci_low"])
    assert rows[rows["attack"] == "none"]["metric"].tolist() == ["class_distance"]


def test_points_know_their_role(embedded):
    with read(embedded) as con:
        points = cluster_points(con)
    assert points.columns.tolist() == POINT_COLUMNS and len(points) == 8
    roles = points[points["run_id"] == "badnets-0"].set_index("subset")["role"].to_dict()
    assert roles == {"0_backdoor": "backdoor", "0_clean": "clean", "1": "clean class"}
    assert set(points[points["attack"] == "none"]["role"]) == {"all", "clean class"}


def test_without_the_stage_there_is_nothing(tmp_path):
    with open_database(tmp_path / "results.duckdb") as con:
        assert len(cluster_points(con)) == 0
        assert cluster_metrics(con).columns.tolist() == METRIC_COLUMNS
