"""The clean network of an attack that crafts its images: trained once for all cells that need it, before they train."""

from __future__ import annotations

import pytest
import torch
from rows import numbers, query

from ibray.errors import UserError
from ibray.rundata import build_run_data
from ibray.snapshots import Snapshots
from ibray.surrogate import surrogate_cell
from ibray.sweep import run_sweep
from ibray.workspace import enter_output

LC = {"name": "lc", "poison_ratio": 0.5, "steps": 3}


@pytest.fixture
def sweep(tmp_path, data_dir):
    """Run a spec inline in this test's output directory; returns the database."""
    return lambda spec, **options: run_sweep(spec, tmp_path / "out", inline=True, data_dir=data_dir, **options)


def stages_of(database, stage):
    return query(database, f"SELECT run_id, status FROM stages WHERE stage = '{stage}'")


def test_cells_share_one_surrogate_per_dataset_architecture_and_training(tiny):
    architectures = [{"name": "resnet10_8", "width": 4}, "small_cnn"]
    spec = tiny(attack=["none", "badnets", LC], seed=[0, 1], sigma=[0.1, 0.4], architecture=architectures)
    cells = spec.cells()
    surrogates = {s.run_id: s for cell in cells if (s := surrogate_cell(cell))}
    assert len(surrogates) == 2 and all(s.sigma == 0 and s.attack.name == "none" for s in surrogates.values())
    assert {s.architecture.name for s in surrogates.values()} == {"resnet10_8", "small_cnn"}
    assert not surrogates.keys() & {cell.run_id for cell in cells}
    assert all((surrogate_cell(cell) is None) == (cell.attack.name != "lc") for cell in cells)
    fixed = tiny(attack=[{**LC, "surrogate": "small_cnn"}], architecture=architectures)
    assert len({surrogate_cell(cell).run_id for cell in fixed.cells()}) == 1


def test_a_sweep_trains_it_once_and_the_cells_after_it(sweep, tiny, tmp_path):
    spec = tiny(attack=[LC], seed=[0, 1])
    database = sweep(spec)
    ((surrogate, status),) = stages_of(database, "surrogate")
    assert status == "done" and query(database, "SELECT DISTINCT surrogate, status FROM runs") == [(surrogate, "done")]
    assert query(database, f"SELECT count(*) FROM epochs WHERE run_id = '{surrogate}'") == [(3,)]
    times = "SELECT max(finished) FILTER (stage = 'surrogate') <= min(started) FILTER (stage = 'train') FROM stages"
    assert query(database, times) == [(True,)]
    assert query(database, "SELECT count(*) FROM runs") == [(2,)]  # it is none of them
    # Both runs start from other images of the target class, each crafted and stored.
    crafted = [Snapshots(tmp_path / "out", cell.run_id).parts()["crafted"] for cell in spec.cells()]
    assert all(len(images) == 10 for images in crafted) and not torch.equal(*crafted)
    before = query(database, "SELECT * FROM stages ORDER BY ALL")
    assert query(sweep(spec), "SELECT * FROM stages ORDER BY ALL") == before
    grown = sweep(tiny(attack=[LC], seed=[0, 1, 2]))
    assert len(stages_of(grown, "surrogate")) == 1


def test_the_stored_trigger_rebuilds_the_data_without_the_surrogate(sweep, tiny, tmp_path, data_dir):
    spec = tiny(attack=[LC])
    sweep(spec)
    (cell,) = spec.cells()
    snapshots = Snapshots(tmp_path / "out", cell.run_id)
    again, data = snapshots.load_data(data_dir)
    assert again == cell and int(data.is_backdoor.sum()) == 10
    with pytest.raises(ValueError, match="surrogate"):
        build_run_data(cell, data_dir)


def test_estimates_after_a_lost_snapshot_train_again_on_the_same_crafted_images(sweep, tiny, tmp_path):
    spec = tiny(attack=[LC])
    before = numbers(sweep(spec))
    for path in (tmp_path / "out" / "snapshots").rglob("epoch_*"):
        path.unlink()  # the surrogate's among them
    more = tiny(attack=[LC], mi={**spec.resolved()["mi"], "draws": 3})
    database = sweep(more)
    assert numbers(database)["epochs"] == before["epochs"]
    assert query(database, "SELECT count(DISTINCT settings) FROM mi") == [(2,)]


def test_a_surrogate_that_fails_takes_its_cells_with_it_and_no_other(sweep, tiny, tmp_path):
    spec = tiny(attack=["badnets", LC], retries=0)
    enter_output(tmp_path / "out", spec)
    clean, crafted = spec.cells()
    blocked = tmp_path / "out" / "snapshots" / surrogate_cell(crafted).run_id
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")
    database = sweep(spec)
    assert dict(query(database, "SELECT run_id, status FROM runs")) == {clean.run_id: "done", crafted.run_id: "failed"}
    errors = query(database, f"SELECT DISTINCT stage, error FROM stages WHERE run_id = '{crafted.run_id}'")
    assert {stage for stage, _ in errors} >= {"train", "mi"}
    assert all(error.startswith("not run: stage 'surrogate' (") for _, error in errors)
    blocked.unlink()
    assert query(sweep(spec), "SELECT DISTINCT status FROM runs") == [("done",)]


def test_an_unknown_surrogate_is_refused_before_anything_starts(sweep, tiny, tmp_path):
    with pytest.raises(UserError, match=r"attack lc: surrogate: unknown architecture 'resnet19'.*or 'same'"):
        sweep(tiny(attack=[{**LC, "surrogate": "resnet19"}]))
    assert not (tmp_path / "out").exists()


def test_an_adversarially_trained_surrogate_is_another_network(sweep, tiny, tmp_path):
    spec = tiny(attack=[LC, {**LC, "surrogate_training": "adversarial"}])
    plain, robust = (surrogate_cell(cell) for cell in spec.cells())
    assert (plain.training.adversarial_epsilon, robust.training.adversarial_epsilon) == (0, 8)
    database = sweep(spec)
    assert {run_id for run_id, _ in stages_of(database, "surrogate")} == {plain.run_id, robust.run_id}
    losses = query(database, f"SELECT train_loss FROM epochs WHERE run_id = '{plain.run_id}' ORDER BY epoch")
    harder = query(database, f"SELECT train_loss FROM epochs WHERE run_id = '{robust.run_id}' ORDER BY epoch")
    assert harder[0] != losses[0] and harder[-1] > losses[-1]
