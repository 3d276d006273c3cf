"""Hours from FLOPs and from a database with done stages; what `ibray sweep --dry-run` makes of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ibray import store
from ibray.estimate import Estimator
from ibray.plan import enter_plan
from ibray.stages import plan_tasks
from ibray.work import mi_flop, train_flop
from ibray.workspace import DATABASE, enter_output


def tasks_of(spec, stage: str):
    return [task for task in plan_tasks(spec, spec.cells()) if task.stage == stage]


@pytest.fixture
def finished(tmp_path, tiny):
    """Make an output directory in which the given tasks of the spec are done: [(task, seconds, device)]."""

    def make(spec, done) -> Path:
        out = tmp_path / "out"
        enter_output(out, spec)
        store.create(out / DATABASE)
        enter_plan(out / DATABASE, spec.cells(), plan_tasks(spec, spec.cells()))
        writer = store.Store(out / DATABASE, interval=3600)
        for task, seconds, device in done:
            writer.begin(task.key, device=device)
            writer.finish(task.key, {}, seconds=seconds)
        writer.close()
        return out

    return make


def estimator(spec, out: Path, data_dir: Path, tflops: float = 10.0) -> Estimator:
    return Estimator(spec, out / DATABASE, data_dir, tflops)


def test_flops_become_hours_at_the_rate_of_the_gpu(tiny, tmp_path, data_dir):
    spec = tiny()
    trains = tasks_of(spec, "train")
    made = estimator(spec, tmp_path, data_dir, tflops=0.5)
    (time,) = made.times(trains)
    sizes = made._sizes_of(trains[0].cell)
    assert time.flop == sum(train_flop(task, sizes) for task in trains)
    assert time.tasks == 2 and time.device is None
    assert time.hours == pytest.approx(time.flop / 0.5e12 / 3600) and time.gpu_hours == time.hours


def test_a_trial_on_a_quarter_of_a_gpu_takes_four_times_as_long_and_as_many_gpu_hours(tiny, tmp_path, data_dir):
    spec = tiny()
    made = estimator(spec, tmp_path, data_dir)
    (time,) = made.times(tasks_of(spec, "mi"))
    assert time.flop == sum(mi_flop(task, made._sizes_of(task.cell)) for task in tasks_of(spec, "mi"))
    assert time.gpu_hours == pytest.approx(time.flop / 10e12 / 3600)
    assert time.hours == pytest.approx(4 * time.gpu_hours)


def test_two_gpus_are_paid_for_but_make_a_trial_no_faster(tiny, tmp_path, data_dir):
    one, two = (
        estimator(spec, tmp_path, data_dir).times(tasks_of(spec, "train"))[0]
        for spec in (tiny(), tiny(resources={"train": {"gpu": 2}}))
    )
    assert two.hours == one.hours and two.gpu_hours == 2 * one.gpu_hours


def test_what_is_measured_wins_over_what_is_worked_out(tiny, finished, data_dir):
    spec = tiny(seed=[0, 1])
    first, second, *rest = tasks_of(spec, "train")
    out = finished(spec, [(first, 100.0, "NVIDIA A10G"), (second, 300.0, "NVIDIA A10G")])
    (time,) = estimator(spec, out, data_dir).times(rest)
    assert (time.tasks, time.device, time.flop) == (2, "NVIDIA A10G", None)
    assert time.hours == time.gpu_hours == pytest.approx(2 * 200 / 3600)


def test_a_measured_trial_counts_as_its_fraction_of_a_gpu_and_on_a_cpu_as_none(tiny, finished, data_dir):
    spec = tiny()
    mis, trains = tasks_of(spec, "mi"), tasks_of(spec, "train")
    out = finished(spec, [(mis[0], 60.0, "NVIDIA A10G"), (trains[0], 60.0, "cpu")])
    (on_gpu,) = estimator(spec, out, data_dir).times(mis[1:])
    assert on_gpu.gpu_hours == pytest.approx(on_gpu.hours / 4) == pytest.approx(3 * 60 / 3600 / 4)
    (on_cpu,) = estimator(spec, out, data_dir).times(trains[1:])
    assert (on_cpu.device, on_cpu.gpu_hours) == ("cpu", 0) and on_cpu.hours == pytest.approx(60 / 3600)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "small_cnn"},
        {"dataset": {"name": "digits16", "per_class": 30}},
        {"dataset": {"name": "digits", "per_class": 20, "test_per_class": 10}},
        {"training": {"epochs": 4, "snapshots": [1, 3]}},
    ],
    ids=lambda change: " ".join(change),
)
def test_another_kind_of_task_is_not_measured_by_this_one(tiny, finished, data_dir, change):
    out = finished(tiny(), [(tasks_of(tiny(), "train")[0], 100.0, "cpu")])
    spec = tiny(**change)
    assert [time.device for time in estimator(spec, out, data_dir).times(tasks_of(spec, "train"))] == [None]


def test_a_stage_of_unknown_cost_is_left_out_until_it_is_measured(tiny, finished, tmp_path, data_dir):
    spec = tiny()
    other = [dataclasses.replace(task, stage="perceptual") for task in tasks_of(spec, "train")]
    assert estimator(spec, tmp_path, data_dir).times(other) == []
    out = finished(spec, [(other[0], 7.0, "cpu")])
    assert estimator(spec, out, data_dir).times(other[1:])[0].hours == pytest.approx(7 / 3600)


def test_disk_counts_every_snapshot_of_every_cell(tiny, tmp_path, data_dir):
    small, large = tiny(), tiny(architecture="resnet10_8", seed=[0, 1, 2])
    made = [estimator(spec, tmp_path, data_dir).disk(spec.cells()) for spec in (small, large)]
    assert [disk.snapshots for disk in made] == [2 * 2, 2 * 3 * 2]
    both = tiny(architecture=[{"name": "resnet10_8", "width": 4}, "resnet10_8"])
    disk = estimator(both, tmp_path, data_dir).disk(both.cells())
    assert disk.snapshot_bytes == made[0].snapshot_bytes + made[1].snapshot_bytes // 3
    assert disk.checkpoint_bytes == made[1].checkpoint_bytes > made[0].checkpoint_bytes
