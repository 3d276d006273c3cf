"""Training runs on real digits: what the rows say, that seeds decide them, and that a resumed run is the same run."""

from __future__ import annotations

import math
import shutil

import pytest
import torch

from ibray.rundata import build_run_data
from ibray.training import train

CPU = torch.device("cpu")


class Died(Exception):
    """Stands for whatever ends a process in mid-training."""


@pytest.fixture
def cell(tiny):
    training = {"epochs": 4, "snapshots": [1, 2, 4], "batch_size": 32, "lr": 0.05}
    return tiny(attack="badnets", training=training).cells()[0]


@pytest.fixture
def data(cell, data_dir):
    return build_run_data(cell, data_dir)


def run(cell, data, checkpoints, snapshots=(1, 2, 4), die_after=None, **options):
    """Train; returns the rows and the weights at each snapshot."""
    rows, weights = [], {}

    def on_epoch(result):
        rows.append(result)
        if result.epoch == die_after:
            raise Died

    def on_snapshot(epoch, model):
        weights[epoch] = {name: value.clone() for name, value in model.state_dict().items()}

    settings = {"device": CPU, "snapshots": snapshots, "checkpoints": checkpoints, **options}
    torch.set_num_threads(1)
    train(cell, data, on_epoch=on_epoch, on_snapshot=on_snapshot, **settings)
    return rows, weights


def numbers(rows):
    """The rows without what a clock measured."""
    clock = {"seconds", "images_per_s"}
    return [({k: v for k, v in row.metrics.items() if k not in clock}, row.class_losses) for row in rows]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_same_cell_gives_the_same_rows_and_weights(cell, data, tmp_path):
    first, second = (run(cell, data, tmp_path / name) for name in "ab")
    assert numbers(first[0]) == numbers(second[0])
    assert all(same(first[1][epoch], second[1][epoch]) for epoch in (1, 2, 4))


def test_another_seed_gives_other_rows(tiny, data_dir, tmp_path):
    cells = tiny(attack="badnets", seed=[0, 1]).cells()
    losses = [run(c, build_run_data(c, data_dir), tmp_path / c.run_id, (3,))[0][0].metrics["train_loss"] for c in cells]
    assert losses[0] != losses[1]


def test_resumed_equals_uninterrupted_to_the_last_bit(cell, data, tmp_path):
    rows, weights = run(cell, data, tmp_path / "whole")
    with pytest.raises(Died):
        run(cell, data, tmp_path / "broken", die_after=3)
    resumed_rows, resumed_weights = run(cell, data, tmp_path / "broken", snapshots=[4])
    assert numbers(resumed_rows) == numbers(rows)
    assert same(resumed_weights[4], weights[4])


def test_a_corrupt_checkpoint_is_set_aside_and_the_one_before_it_used(cell, data, tmp_path):
    rows, weights = run(cell, data, tmp_path / "whole")
    with pytest.raises(Died):
        run(cell, data, tmp_path / "broken", die_after=3)
    newest = tmp_path / "broken" / "epoch_0002.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    resumed_rows, resumed_weights = run(cell, data, tmp_path / "broken", snapshots=[4])
    assert numbers(resumed_rows) == numbers(rows)
    assert same(resumed_weights[4], weights[4])
    assert (tmp_path / "broken" / "epoch_0002.corrupt").exists()


def test_a_checkpoint_after_a_missing_snapshot_is_passed_over(cell, data, tmp_path):
    _, weights = run(cell, data, tmp_path / "run")
    _, again = run(cell, data, tmp_path / "run", snapshots=[1, 4])
    assert same(again[1], weights[1])


def test_rows_are_rates_and_losses_in_range(cell, data, tmp_path):
    rows, _ = run(cell, data, tmp_path)
    assert [row.epoch for row in rows] == [1, 2, 3, 4]
    for row in rows:
        metrics = row.metrics
        assert all(0 <= metrics[name] <= 1 for name in ("train_acc", "test_acc", "asr"))
        assert metrics["train_loss"] > 0 and metrics["images_per_s"] > 0 and metrics["lr"] == 0.05


def test_class_losses_average_to_the_training_loss(cell, data, tmp_path):
    rows, _ = run(cell, data, tmp_path)
    for row in rows:
        classes = [each for each in row.class_losses if each["subset"].isdigit()]
        mean = math.fsum(each["train_loss"] * each["n"] for each in classes) / sum(each["n"] for each in classes)
        assert mean == pytest.approx(row.metrics["train_loss"], rel=1e-5)
        parts = {each["subset"]: each["n"] for each in row.class_losses}
        assert parts["0_backdoor"] == 20 and parts["0_backdoor"] + parts["0_clean"] == parts["0"]


def test_without_an_attack_there_is_no_attack_success_rate(tiny, data_dir, tmp_path):
    cell = tiny(attack="none").cells()[0]
    rows, _ = run(cell, build_run_data(cell, data_dir), tmp_path, (3,))
    assert {row.metrics["asr"] for row in rows} == {None}
    assert "0_backdoor" not in {each["subset"] for each in rows[0].class_losses}


def test_attack_success_is_measured_on_images_of_other_classes_only(cell, data):
    assert len(data.asr_images) == int((data.test_labels != cell.target_class).sum())


def test_the_learning_rate_falls_on_a_plateau(tiny, data_dir, tmp_path):
    training = {"epochs": 4, "snapshots": [4], "lr": 1e-6, "plateau_patience": 0, "batch_size": 32}
    cell = tiny(attack="none", sigma=0.0, training=training).cells()[0]
    rows, _ = run(cell, build_run_data(cell, data_dir), tmp_path, (4,))
    assert rows[-1].metrics["lr"] <= 0.5e-6


def test_bfloat16_is_close_to_float32(tiny, data_dir, tmp_path):
    first = {}
    for precision in ("float32", "bfloat16"):
        training = {"epochs": 4, "snapshots": [4], "batch_size": 32, "lr": 0.05, "precision": precision}
        cell = tiny(attack="badnets", training=training).cells()[0]
        rows, _ = run(cell, build_run_data(cell, data_dir), tmp_path / precision, (4,))
        first[precision] = rows[0].metrics["train_loss"]
    assert first["bfloat16"] != first["float32"]
    assert first["bfloat16"] == pytest.approx(first["float32"], rel=0.05)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_training_follows_the_plain_one(tiny, data_dir, tmp_path):
    """To rounding, which an epoch of steps makes larger; without noise, as the compiler draws other noise."""
    training = {"epochs": 2, "snapshots": [2], "batch_size": 32, "lr": 0.05}
    cell = tiny(attack="badnets", sigma=0.0, training=training).cells()[0]
    data = build_run_data(cell, data_dir)
    plain, _ = run(cell, data, tmp_path / "plain", [2])
    compiled, _ = run(cell, data, tmp_path / "compiled", [2], compile_model=True)
    assert compiled[0].metrics["train_loss"] == pytest.approx(plain[0].metrics["train_loss"], rel=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_a_gpu_learns_what_the_cpu_learns(cell, data, tmp_path):
    cpu, _ = run(cell, data, tmp_path / "cpu")
    gpu, _ = run(cell, data, tmp_path / "gpu", device=torch.device("cuda"))
    assert gpu[-1].metrics["train_loss"] == pytest.approx(cpu[-1].metrics["train_loss"], rel=0.3)
