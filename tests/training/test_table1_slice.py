"""benchmarks/table1_slice.py: the same cells as its sweep file, and a run that is cut into slices is the whole run."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path

import pytest
import torch
from rows import query

from ibray.snapshots import Snapshots
from ibray.spec import load_spec
from ibray.sweep import run_sweep
from ibray.workspace import enter_output

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def table1_slice():
    spec = importlib.util.spec_from_file_location("table1_slice", ROOT / "benchmarks" / "table1_slice.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_cells_are_those_of_the_sweep_file_in_its_order(table1_slice):
    spec = load_spec(ROOT / "sweeps" / "table1_seed0.yaml")
    assert [cell.run_id for cell in table1_slice.cells()] == [cell.run_id for cell in spec.cells()]
    assert spec.training.snapshots == list(table1_slice.SNAPSHOTS)


@pytest.mark.parametrize("attack", ["badnets", "lc"])
def test_a_run_in_slices_leaves_what_a_whole_run_leaves(table1_slice, tiny, data_dir, tmp_path, monkeypatch, attack):
    monkeypatch.setenv("IBRAY_DATA", str(data_dir))
    monkeypatch.setattr("ibray.training.CHECKPOINT_SECONDS", 0)
    torch.set_num_threads(1)
    (cell,) = tiny(attack={"name": attack, "steps": 2} if attack == "lc" else attack, poison_ratio=0.2).cells()
    table1_slice.train_cell(cell, (1, 3), tmp_path / "whole", CPU, until=math.inf)
    slices = 0
    while True:
        try:
            table1_slice.train_cell(cell, (1, 3), tmp_path / "cut", CPU, until=0)
            break
        except table1_slice.TimeOver:
            slices += 1
    assert slices == 2 * (2 if attack == "lc" else 1)  # the surrogate is cut too, at each epoch but the last
    rows = [read_rows(tmp_path / name / "epochs" / f"{cell.run_id}.jsonl") for name in ("whole", "cut")]
    assert rows[0] == rows[1] and [row["epoch"] for row in rows[0]] == [1, 2, 3]
    for epoch in (1, 3):
        weights = [
            (Snapshots(tmp_path / name, cell.run_id).directory / f"epoch_{epoch:04d}.safetensors").read_bytes()
            for name in ("whole", "cut")
        ]
        assert weights[0] == weights[1]


def test_what_is_done_is_not_trained_again(table1_slice, tiny, data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("IBRAY_DATA", str(data_dir))
    cell = tiny(attack="badnets").cells()[0]
    torch.set_num_threads(1)
    table1_slice.train_cell(cell, (3,), tmp_path, CPU, until=math.inf)
    monkeypatch.setattr(table1_slice, "train", None)
    table1_slice.train_cell(cell, (3,), tmp_path, CPU, until=math.inf)


def test_a_sweep_takes_over_what_is_trained(table1_slice, tiny, data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("IBRAY_DATA", str(data_dir))
    spec = tiny(attack="badnets")
    (cell,) = spec.cells()
    torch.set_num_threads(1)
    enter_output(tmp_path, spec)
    table1_slice.train_cell(cell, (1, 3), tmp_path, CPU, until=math.inf)
    monkeypatch.setattr("ibray.training.Trainer._train_epoch", None)
    database = run_sweep(spec, tmp_path, inline=True, stages=["train"], data_dir=data_dir)
    assert query(database, "SELECT count(*), max(epoch) FROM epochs") == [(3, 3)]
    assert query(database, "SELECT status FROM stages WHERE stage = 'train'") == [("done",)]


def read_rows(file):
    clock = {"seconds", "images_per_s"}
    return [{k: v for k, v in json.loads(line).items() if k not in clock} for line in file.read_text().splitlines()]
