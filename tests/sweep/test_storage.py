"""Snapshots at a URI instead of in the sweep's directory: what is where, and that another machine goes on."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
from rows import numbers, query
from upath import UPath

from ibray.errors import UserError
from ibray.publish import publish, published
from ibray.snapshots import Snapshots
from ibray.storage import artifacts_of
from ibray.sweep import run_sweep
from ibray.validation.snapshots import check_snapshots

pytestmark = pytest.mark.ray


def files_below(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def sweep(data_dir):
    """Run a spec inline in a directory, with its snapshots elsewhere."""
    return lambda spec, out, **options: run_sweep(spec, out, inline=True, data_dir=data_dir, **options)


@pytest.fixture
def bucket():
    """An object store in memory: no directories, no renaming, the same code path as s3:// and gs://."""
    root = UPath("memory://bucket")
    yield f"{root}/sweep"
    if root.exists():
        root.rmdir(recursive=True)


def test_an_object_store_holds_snapshots_and_a_copy_of_the_database(sweep, tiny, tmp_path, bucket):
    spec = tiny()
    database = sweep(spec, tmp_path / "out", storage=bucket)
    assert numbers(database) == numbers(sweep(spec, tmp_path / "local"))
    assert not (tmp_path / "out" / "snapshots").exists() and not (tmp_path / "out" / "checkpoints").exists()
    assert all(Snapshots(UPath(bucket), cell.run_id).has(3) for cell in spec.cells())
    assert not list(UPath(bucket).glob("checkpoints/*/*"))
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes((UPath(bucket) / "results.duckdb").read_bytes())
    assert numbers(copy) == numbers(database)


def test_another_machine_goes_on_from_the_uri(sweep, tiny, tmp_path, bucket):
    spec = tiny()
    first = sweep(spec, tmp_path / "one", storage=bucket, stages=("train",))
    trained = query(first, "SELECT * FROM epochs ORDER BY ALL")
    shutil.rmtree(tmp_path / "one")
    second = sweep(spec, tmp_path / "two", storage=bucket)
    assert query(second, "SELECT * FROM epochs ORDER BY ALL") == trained  # durations too: nothing was trained again
    assert query(second, "SELECT DISTINCT status FROM stages") == [("done",)]


def test_a_directory_remembers_its_uri(sweep, tiny, tmp_path, bucket):
    sweep(tiny(), tmp_path / "out", storage=bucket, stages=("train",))
    database = sweep(tiny(), tmp_path / "out")
    assert artifacts_of(tmp_path / "out") == UPath(bucket)
    assert query(database, "SELECT DISTINCT status FROM stages") == [("done",)]
    with pytest.raises(UserError, match=r"keeps its snapshots at memory://bucket/sweep; give that"):
        sweep(tiny(), tmp_path / "out", storage="memory://bucket/other")


def test_validation_finds_the_snapshots(sweep, tiny, tmp_path, data_dir, bucket):
    sweep(tiny(), tmp_path / "out", storage=bucket)
    rows = list(check_snapshots(tmp_path / "out", data_dir, True, lambda _: None))
    assert {row.check for row in rows} >= {"null", "rescaling"}


def test_a_file_uri_is_a_directory(sweep, tiny, tmp_path):
    sweep(tiny(), tmp_path / "out", storage=f"file://{tmp_path}/shared", stages=("train",))
    assert {"results.duckdb", "sweep.yaml", "recipe.json"} <= files_below(tmp_path / "shared")


def test_what_cannot_be_stored_is_refused_before_anything_is_touched(sweep, tiny, tmp_path, bucket):
    with pytest.raises(UserError, match=r"--out nosuch://x: .*s3://BUCKET/PATH"):
        sweep(tiny(), tmp_path / "out", storage="nosuch://x")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        sweep(tiny(), tmp_path / "out", storage=f"file://{tmp_path}/file/below")
    sweep(tiny(name="another"), tmp_path / "theirs", storage=bucket, stages=("train",))
    with pytest.raises(UserError, match="belongs to the sweep 'another'"):
        sweep(tiny(), tmp_path / "out", storage=bucket)
    sweep(tiny(), tmp_path / "mine", stages=("train",))
    with pytest.raises(UserError, match="has snapshots of its own"):
        sweep(tiny(), tmp_path / "mine", storage="memory://bucket/mine")


def test_a_copy_that_cannot_be_made_is_an_error_that_names_the_rows(sweep, tiny, tmp_path):
    out = tmp_path / "out"
    sweep(tiny(), out, storage=f"file://{tmp_path}/shared", stages=("train",))
    shutil.rmtree(tmp_path / "shared")
    (tmp_path / "shared").write_text("in the way")
    with pytest.raises(UserError, match=r"all rows are in .*results\.duckdb"), published(out):
        pass


def test_a_copy_is_published_while_the_sweep_runs(sweep, tiny, tmp_path):
    out, shared = tmp_path / "out", tmp_path / "shared"
    database = sweep(tiny(), out, storage=f"file://{shared}", stages=("train",))
    (shared / "results.duckdb").unlink()
    with published(out, interval=0.01):
        for _ in range(500):
            if (shared / "results.duckdb").exists():
                break
            time.sleep(0.02)
        assert numbers(shared / "results.duckdb") == numbers(database)
    publish(out, shared)
    assert {path.name for path in shared.iterdir()} - {"snapshots", "checkpoints"} == {"results.duckdb", "sweep.yaml"}


@pytest.mark.parametrize(("keep", "left"), [("all", [1, 3]), ("last", [3]), ("none", [])])
def test_snapshots_go_when_all_is_done_with_a_run(sweep, tiny, tmp_path, keep, left):
    spec = tiny()
    out = tmp_path / "out"
    database = sweep(spec, out, keep=keep)
    assert [Snapshots(out, cell.run_id).epochs() for cell in spec.cells()] == [left, left]
    assert all(Snapshots(out, cell.run_id).has_recipe() for cell in spec.cells())
    before = numbers(database)
    assert numbers(sweep(spec, out, keep=keep)) == before


def test_a_kept_snapshot_goes_when_a_later_sweep_says_so(sweep, tiny, tmp_path):
    spec = tiny()
    sweep(spec, tmp_path / "out")
    sweep(spec, tmp_path / "out", keep="none")
    assert [Snapshots(tmp_path / "out", cell.run_id).epochs() for cell in spec.cells()] == [[], []]
    with pytest.raises(UserError, match="--keep some: choose one of all, last, none"):
        sweep(spec, tmp_path / "out", keep="some")
