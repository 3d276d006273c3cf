"""Maps of T and the numbers beside them, as rows of a sweep: which images, always the same, only where asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rows import doubled, numbers, query

from ibray.dry_run import print_plan
from ibray.embedding import backdoor_metrics, tsne_map
from ibray.errors import UserError
from ibray.sweep import run_sweep

EMBED = {"max_images": 60, "perplexity": 5.0}
METRICS = ["silhouette", "subclusters", "unclustered", "distance", "spread", "class_distance"]


@pytest.fixture
def run(tmp_path, data_dir):
    """Run a spec inline in an output directory of this test; returns the database."""

    def make(spec, out: str = "out", **options) -> Path:
        return run_sweep(spec, tmp_path / out, inline=True, data_dir=data_dir, **options)

    return make


def test_every_image_of_a_map_has_one_row_and_the_same_images_are_on_every_map(run, tiny):
    database = run(tiny(attack=["none", "badnets"], embed=EMBED), stages=["embed"])
    assert query(database, "SELECT stage, count(*) FROM stages WHERE status = 'done' GROUP BY 1 ORDER BY 1") == [
        ("embed", 4),
        ("train", 2),
    ]
    counts = "SELECT attack, epoch, subset, count(*), count(DISTINCT image) FROM embeddings JOIN runs USING (run_id)"
    found = {(a, e, s): (n, images) for a, e, s, n, images in query(database, f"{counts} GROUP BY ALL")}
    # 60 images in 5 subsets, or 4 without an attack: 12 or 15 of each.
    expected = {("badnets", e, s): (12, 12) for e in (1, 3) for s in ("0_backdoor", "0_clean", "1", "2", "3")}
    expected |= {("none", e, s): (15, 15) for e in (1, 3) for s in ("0", "1", "2", "3")}
    assert found == expected
    images = "SELECT epoch, list(image ORDER BY image) FROM embeddings JOIN runs USING (run_id)"
    ((_, first), (_, last)) = query(database, f"{images} WHERE attack = 'badnets' GROUP BY ALL")
    assert first == last
    assert query(database, "SELECT count(*) FROM embeddings WHERE NOT isfinite(x) OR NOT isfinite(y)") == [(0,)]
    metrics = "SELECT attack, epoch, list(metric) FROM clusters JOIN runs USING (run_id) GROUP BY ALL ORDER BY ALL"
    assert query(database, metrics) == [
        ("badnets", 1, METRICS),
        ("badnets", 3, METRICS),
        ("none", 1, ["class_distance"]),
        ("none", 3, ["class_distance"]),
    ]
    assert doubled(database) == {}


def test_twice_the_same_rows_and_a_finished_map_is_not_made_again(run, tiny):
    spec = tiny(attack="badnets", embed={**EMBED, "epochs": [3]})
    first = run(spec, stages=["embed"])
    before = query(first, "SELECT max(finished) FROM stages")
    assert query(run(spec, stages=["embed"]), "SELECT max(finished) FROM stages") == before
    second = run(spec, "other", stages=["embed"])
    for table in ("embeddings", "clusters"):
        assert numbers(first)[table] == numbers(second)[table] != []
    # A grown list maps the new snapshot only; another perplexity maps again and leaves one map each.
    mapped = "SELECT unit, count(*), max(finished) FROM stages WHERE stage = 'embed' GROUP BY 1 ORDER BY 1"
    ((_, _, finished),) = query(first, mapped)
    ((one, _, _), (three, _, same)) = query(run(tiny(attack="badnets", embed=EMBED), stages=["embed"]), mapped)
    assert (one, three, same) == (1, 3, finished)
    run(tiny(attack="badnets", embed={**EMBED, "perplexity": 4.0}), stages=["embed"])
    assert doubled(first) == {} and query(first, "SELECT count(*) FROM embeddings") == [(120,)]


def test_without_the_key_nothing_is_mapped_and_asking_for_the_stage_says_so(run, tiny):
    spec = tiny(attack="badnets")
    assert query(run(spec, stages=["train"]), "SELECT count(*) FROM stages WHERE stage = 'embed'") == [(0,)]
    with pytest.raises(UserError, match="--stage embed: nothing in this sweep asks for it"):
        run(spec, stages=["embed"])


def test_a_dry_run_counts_the_maps_without_inventing_a_time(tiny, tmp_path, data_dir, capsys):
    console = Console(width=200)
    print_plan(tiny(embed={**EMBED, "epochs": [1]}), tmp_path / "out", data_dir, 10.0, (), console)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("embed:")]
    assert "2 of 2 tasks to run" in line and "not estimated" in line


def test_an_epoch_without_a_snapshot_is_refused(tiny):
    with pytest.raises(UserError, match=r"embed\.epochs: 2 is no snapshot; training\.snapshots are 1, 3"):
        tiny(embed={"epochs": [2]})


def cloud(rng: np.random.Generator, n: int, centre: float, spread: float = 1.0) -> np.ndarray:
    """n points of RMS spread about `spread` around (centre, 0, ...) in 16 dimensions."""
    points = rng.normal(0, spread / 4, (n, 16))
    points[:, 0] += centre
    return points


def test_the_numbers_tell_apart_merged_detached_and_split():
    rng = np.random.default_rng(0)
    target, others = cloud(rng, 200, 0.0), {"1": cloud(rng, 50, 4.0), "2": cloud(rng, 50, -6.0)}
    arrangements = {
        "merged": cloud(rng, 200, 0.0),
        "detached": cloud(rng, 200, 5.0, 0.5),
        "split": np.concatenate([cloud(rng, 100, 5.0, 0.5), cloud(rng, 100, 9.0, 0.5)]),
    }
    found = {
        name: {each.metric: each.value for each in backdoor_metrics(points, target, others)}
        for name, points in arrangements.items()
    }
    assert [found[name]["subclusters"] for name in arrangements] == [1, 1, 2]
    assert abs(found["merged"]["silhouette"]) < 0.05 < 0.7 < found["detached"]["silhouette"]
    assert found["merged"]["distance"] < 0.2 and found["detached"]["distance"] == pytest.approx(5, rel=0.1)
    assert found["detached"]["spread"] == pytest.approx(0.5, rel=0.1) and found["split"]["spread"] > 1.5
    assert {round(each["class_distance"]) for each in found.values()} == {5}


def test_too_few_images_give_nulls_and_a_map_all_the_same():
    rng = np.random.default_rng(0)
    values = {each.metric: each.value for each in backdoor_metrics(cloud(rng, 1, 2), cloud(rng, 9, 0), {})}
    nulls = {"silhouette", "subclusters", "unclustered", "spread", "class_distance"}
    assert {name for name, value in values.items() if value is None} == nulls
    assert tsne_map(cloud(rng, 3, 0), perplexity=30, seed=0).tolist() == [[0, 0]] * 3
    assert tsne_map(cloud(rng, 8, 0), perplexity=30, seed=0).shape == (8, 2)
