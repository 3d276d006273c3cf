"""Sweeps whose trainings share a trial: cells keep rows, status, errors and attempts of their own."""

from __future__ import annotations

from functools import partial

import pytest
from rows import doubled, query

from ibray.snapshots import Snapshots
from ibray.sweep import run_sweep
from ibray.workspace import enter_output

pytestmark = pytest.mark.ray

PACKED = {"train": {"cpu": 1, "gpu": 1, "pack": 4}, "mi": {"cpu": 0.5, "gpu": 0.25}}
# A rate at which the rounding of another order of sums stays rounding.
TRAINING = {"epochs": 2, "snapshots": [1, 2], "batch_size": 64, "lr": 0.001}
LOSSES = "SELECT run_id, epoch, train_loss, test_loss FROM epochs ORDER BY ALL"


@pytest.fixture
def packed(tiny):
    """Make a sweep of narrow networks, up to four in a trial."""
    return lambda **changes: tiny(
        **{"architecture": "small_cnn", "training": TRAINING, "resources": PACKED, "seed": [0, 1], **changes}
    )


@pytest.fixture
def packs(monkeypatch):
    """How many runs each call of `train_packed` got, in this process."""
    from ibray.stages import train

    sizes, real = [], train.train_packed

    def counted(members, **options):
        sizes.append(len(members))
        real(members, **options)

    monkeypatch.setattr(train, "train_packed", counted)
    return sizes


def alike(one, other):
    one, other = query(one, LOSSES), query(other, LOSSES)
    assert [row[:2] for row in one] == [row[:2] for row in other]
    for mine, theirs in zip(one, other, strict=True):
        assert mine[2:] == pytest.approx(theirs[2:], rel=1e-3)


def block(out, spec, cell):
    """Make one cell fail for real: its snapshots would have to go below a file."""
    enter_output(out, spec)
    path = out / "snapshots" / cell.run_id
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
    return path


def test_a_packed_sweep_has_the_rows_and_ids_of_an_ordinary_one(packed, packs, tmp_path, data_dir):
    database = run_sweep(packed(), tmp_path / "packed", inline=True, data_dir=data_dir, stages=["train"])
    assert packs == [4]
    alone = packed(resources={})
    assert [cell.run_id for cell in alone.cells()] == [cell.run_id for cell in packed().cells()]
    alike(database, run_sweep(alone, tmp_path / "alone", inline=True, data_dir=data_dir, stages=["train"]))
    assert packs == [4] and doubled(database) == {}
    assert query(database, "SELECT count(*), min(seconds) > 0, max(attempts) FROM stages") == [(4, True, 1)]
    assert query(database, "SELECT count(DISTINCT run_id) FROM examples") == [(2,)]  # of badnets; none has none


def test_only_cells_alike_share_a_trial(packed, packs, tmp_path, data_dir):
    spec = packed(attack="badnets", architecture=["small_cnn", {"name": "small_cnn", "width": 8}], seed=[0, 1, 2, 3, 4])
    run_sweep(spec, tmp_path, inline=True, data_dir=data_dir, stages=["train"])
    assert packs == [4, 4]  # the fifth of each goes alone


@pytest.mark.parametrize("training", [{"compile": True}, {"adversarial_epsilon": 1}], ids=str)
def test_what_cannot_be_packed_is_trained_alone(packed, training):
    from ibray.frontier import Frontier
    from ibray.stages import most_together, plan_tasks

    spec = packed(training={**TRAINING, **training})
    frontier = Frontier(plan_tasks(spec, spec.cells(), ["train"]), "nowhere", most_together(spec))
    assert [len(frontier.take_together(name)) for name in "abcde"] == [1, 1, 1, 1, 0]


def test_a_failing_member_is_retried_alone_and_put_right_goes_on_from_there(packed, packs, tmp_path, data_dir):
    spec = packed(retries=1)
    broken = spec.cells()[1]
    blocked = block(tmp_path, spec, broken)
    sweep = partial(run_sweep, spec, tmp_path, inline=True, data_dir=data_dir, stages=["train"])
    database = sweep()
    assert packs == [3, 0]
    statuses = dict(query(database, "SELECT run_id, status FROM runs"))
    assert statuses == {cell.run_id: "failed" if cell == broken else "done" for cell in spec.cells()}
    attempts = dict(query(database, "SELECT run_id, attempts FROM stages WHERE stage = 'train'"))
    assert attempts == {cell.run_id: 2 if cell == broken else 1 for cell in spec.cells()}
    blocked.unlink()
    assert query(sweep(), "SELECT DISTINCT status FROM runs") == [("done",)]


def test_fail_fast_ends_the_whole_pack(packed, tmp_path, data_dir):
    spec = packed()
    block(tmp_path, spec, spec.cells()[0])
    with pytest.raises(OSError, match="snapshots"):
        run_sweep(spec, tmp_path, inline=True, data_dir=data_dir, fail_fast=True)
    assert dict(query(tmp_path / "results.duckdb", "SELECT status, count(*) FROM runs GROUP BY 1")) == {
        "failed": 1, "queued": 3
    }  # fmt: skip


def test_an_interrupted_pack_goes_on_without_its_packmates(packed, tmp_path, data_dir, monkeypatch):
    save, saved = Snapshots.save, []

    def interrupt_at_the_third_snapshot(self, epoch, model):
        save(self, epoch, model)
        saved.append(epoch)
        if len(saved) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Snapshots, "save", interrupt_at_the_third_snapshot)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(packed(), tmp_path / "out", inline=True, data_dir=data_dir, stages=["train"])
    alone = packed(resources={})
    database = run_sweep(alone, tmp_path / "out", inline=True, data_dir=data_dir, stages=["train"])
    alike(database, run_sweep(alone, tmp_path / "alone", inline=True, data_dir=data_dir, stages=["train"]))
    assert doubled(database) == {}


def test_packs_on_ray_with_a_failing_member(ray_cluster, packed, tmp_path, data_dir):
    spec = packed(retries=1, attack="none", seed=[0, 1, 2], training={**TRAINING, "snapshots": [2]})
    broken = spec.cells()[1]
    block(tmp_path / "out", spec, broken)
    database = run_sweep(spec, tmp_path / "out", data_dir=data_dir)
    statuses = dict(query(database, "SELECT run_id, status FROM runs"))
    assert statuses == {cell.run_id: "failed" if cell == broken else "done" for cell in spec.cells()}
    of_training = "SELECT run_id, attempts, error FROM stages WHERE stage = 'train'"
    training = {run_id: (attempts, error) for run_id, attempts, error in query(database, of_training)}
    assert training.pop(broken.run_id)[0] == 2
    assert list(training.values()) == [(1, None)] * 2
    ((started, finished),) = query(
        database, "SELECT max(started), min(finished) FROM stages WHERE stage = 'train' AND status = 'done'"
    )
    assert started < finished  # side by side in one trial
    log = (tmp_path / "out" / "logs" / "sweep.log").read_text()
    assert (
        len({line.split(" as trial ")[1].split(":")[0] for line in log.splitlines() if "started: train" in line}) == 1
    )
    (error,) = query(database, f"SELECT error FROM runs WHERE run_id = '{broken.run_id}'")
    assert broken.run_id in error[0]
    waiting = query(database, "SELECT DISTINCT error FROM stages WHERE status = 'failed' AND stage = 'mi'")
    assert waiting == [("not run: stage 'train' of the same run failed",)]
    assert query(database, "SELECT count(*) FROM stages WHERE stage = 'mi' AND status = 'done'") == [(2,)]
    assert doubled(database) == {}
