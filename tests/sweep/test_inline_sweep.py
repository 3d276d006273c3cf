"""Whole sweeps in one process: what they write, that they resume and grow, and how they fail."""

from __future__ import annotations

import json

import pytest
from rows import doubled, numbers, query

from ibray import __version__
from ibray.errors import UserError
from ibray.snapshots import Snapshots
from ibray.sweep import run_sweep
from ibray.workspace import enter_output, locked


@pytest.fixture
def sweep(tmp_path, data_dir):
    """Run a spec inline in this test's output directory; returns the database."""
    return lambda spec, **options: run_sweep(spec, tmp_path / "out", inline=True, data_dir=data_dir, **options)


def block_training(out, cell):
    """Make one cell's training fail for real: its snapshots would have to go below a file."""
    path = out / "snapshots" / cell.run_id
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
    return path


def test_a_sweep_fills_every_table(sweep, tiny):
    spec = tiny()
    database = sweep(spec)
    counts = {table: len(rows) for table, rows in numbers(database).items()}
    # 2 runs x 3 epochs; 2 snapshots x 2 quantities x (4 subsets without, 7 with an attack); 3 critic epochs each
    assert (counts["epochs"], counts["estimates"], counts["mi_curves"]) == (6, 44, 132)
    assert counts["examples"] == 18
    assert query(database, "SELECT DISTINCT status FROM runs") == [("done",)]
    assert query(database, "SELECT DISTINCT status FROM mi") == [("done",)]
    subsets = query(database, "SELECT DISTINCT subset FROM mi WHERE attack = 'badnets'")
    assert {name for (name,) in subsets} == {"0", "0_backdoor", "0_clean", "0_sample", "1", "2", "3"}


def test_the_database_says_what_produced_it(sweep, tiny):
    database = sweep(tiny())
    ((spec, versions, machine, cells, finished),) = query(
        database, "SELECT spec, versions, machine, cells, finished FROM sweeps"
    )
    assert json.loads(spec)["training"]["epochs"] == 3
    assert {"python", "torch", "duckdb"} <= json.loads(versions).keys()
    assert json.loads(machine)["cores"] >= 1 and cells == 2 and finished is not None
    assert query(database, "SELECT min(peak_memory_mb) > 0, min(seconds) > 0 FROM stages") == [(True, True)]
    assert query(database, "SELECT min(peak_memory_mb) > 0, max(gpu_seconds) FROM runs") == [(True, 0.0)]
    columns = "device, driver, node, ibray_version, git_sha, git_dirty, versions"
    (of_stages,) = query(database, f"SELECT DISTINCT {columns} FROM stages")
    assert of_stages[:4] == ("cpu", None, None, __version__) and json.loads(of_stages[-1]) == json.loads(versions)
    assert query(database, f"SELECT DISTINCT {columns} FROM runs") == [of_stages]


def test_the_same_sweep_again_runs_nothing(sweep, tiny):
    before = query(sweep(tiny()), "SELECT * FROM stages ORDER BY ALL")
    assert query(sweep(tiny()), "SELECT * FROM stages ORDER BY ALL") == before


def test_two_fresh_sweeps_give_the_same_rows(tiny, tmp_path, data_dir):
    first, second = (run_sweep(tiny(), tmp_path / name, inline=True, data_dir=data_dir) for name in "ab")
    assert numbers(first) == numbers(second)


def test_a_grown_grid_runs_only_its_new_cells(sweep, tiny):
    sweep(tiny(attack="none"))
    database = sweep(tiny(attack=["none", "blend"]))
    old = query(database, "SELECT max(stages.finished) FROM stages JOIN runs USING (run_id) WHERE attack = 'none'")
    new = query(database, "SELECT min(stages.started) FROM stages JOIN runs USING (run_id) WHERE attack = 'blend'")
    assert old < new
    assert query(database, "SELECT attack, status FROM runs ORDER BY 1") == [("blend", "done"), ("none", "done")]


def test_other_mi_settings_run_the_estimates_alone(sweep, tiny):
    sweep(tiny(attack="none"))
    mi = {**tiny().resolved()["mi"], "draws": 3}
    database = sweep(tiny(attack="none", mi=mi))
    assert query(database, "SELECT stage, count(*) FROM stages GROUP BY 1 ORDER BY 1") == [("mi", 4), ("train", 1)]
    assert query(database, "SELECT count(DISTINCT settings) FROM mi") == [(2,)]


def test_an_interrupted_sweep_goes_on_and_gives_the_same_rows(sweep, tiny, tmp_path, data_dir, monkeypatch):
    spec = tiny()
    undisturbed = numbers(run_sweep(spec, tmp_path / "undisturbed", inline=True, data_dir=data_dir))
    save, saved = Snapshots.save, []

    def interrupt_at_second_snapshot(self, epoch, model):
        save(self, epoch, model)
        saved.append(epoch)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Snapshots, "save", interrupt_at_second_snapshot)
    with pytest.raises(KeyboardInterrupt):
        sweep(spec)
    for table in ("stages", "runs"):
        running = f"SELECT count(*) FROM {table} WHERE status = 'running'"
        assert query(tmp_path / "out" / "results.duckdb", running) == [(0,)]
    database = sweep(spec)
    assert numbers(database) == undisturbed
    assert doubled(database) == {}


def test_a_failing_cell_is_retried_then_recorded_and_the_rest_goes_on(sweep, tiny, tmp_path):
    spec = tiny(retries=1)
    healthy, broken = spec.cells()
    enter_output(tmp_path / "out", spec)
    blocked = block_training(tmp_path / "out", broken)
    database = sweep(spec)
    statuses = dict(query(database, "SELECT run_id, status FROM runs"))
    assert statuses == {healthy.run_id: "done", broken.run_id: "failed"}
    stage = "SELECT attempts, error FROM stages WHERE status = 'failed' AND stage = '{}'"
    ((attempts, error),) = query(database, stage.format("train"))
    assert attempts == 2 and "Error" in error.splitlines()[0] and broken.run_id in error
    assert [e for _, e in query(database, stage.format("mi"))] == ["not run: stage 'train' of the same run failed"] * 2
    # Put right, the same command finishes the grid.
    blocked.unlink()
    assert query(sweep(spec), "SELECT DISTINCT status FROM runs") == [("done",)]


def test_fail_fast_raises_the_first_failure(sweep, tiny, tmp_path):
    spec = tiny(attack=["badnets", "none"])
    enter_output(tmp_path / "out", spec)
    block_training(tmp_path / "out", spec.cells()[0])
    with pytest.raises(OSError, match="snapshots"):
        sweep(spec, fail_fast=True)


def test_an_estimate_that_fails_is_a_row_with_its_reason(sweep, tiny):
    # One image of 200 carries the backdoor: too few to estimate anything on it alone.
    spec = tiny(attack="badnets", poison_ratio=0.005)
    database = sweep(spec)
    failed = query(database, "SELECT DISTINCT subset, nats, error FROM mi WHERE status = 'failed'")
    assert {(subset, nats) for subset, nats, _ in failed} == {("0_backdoor", None)}
    (run_id,) = [cell.run_id for cell in spec.cells()]
    assert {error.split(": ")[0] for *_, error in failed} == {
        f"run {run_id}, epoch {epoch}, subset 0_backdoor" for epoch in (1, 3)
    }
    assert all("at least 2" in error for *_, error in failed)
    assert query(database, "SELECT count(*) FROM mi WHERE status = 'done'")[0][0] > 0


def test_two_sweeps_at_once_in_one_directory_are_refused(sweep, tiny, tmp_path):
    enter_output(tmp_path / "out", tiny())
    with locked(tmp_path / "out"), pytest.raises(UserError, match="running in it already"):
        sweep(tiny())


def test_checkpoints_are_gone_when_a_run_is_done(sweep, tiny, tmp_path):
    sweep(tiny())
    assert list((tmp_path / "out" / "checkpoints").iterdir()) == []


def test_a_done_training_whose_snapshots_were_deleted_is_trained_again(sweep, tiny, tmp_path):
    spec = tiny(attack="none")
    before = numbers(sweep(spec))
    for path in (tmp_path / "out" / "snapshots").rglob("epoch_*"):
        path.unlink()
    with_more = tiny(attack="none", mi={**spec.resolved()["mi"], "max_samples": 10})
    database = sweep(with_more)
    assert query(database, "SELECT count(DISTINCT settings) FROM mi") == [(2,)]
    assert numbers(database)["epochs"] == before["epochs"]


