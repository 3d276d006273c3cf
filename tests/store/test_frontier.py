"""Which tasks may start: those whose needs are on disk, later stages first, and every task ends exactly once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ibray.frontier import Frontier
from ibray.snapshots import Snapshots
from ibray.spec import parse_spec
from ibray.stages import plan_tasks

SPEC = {"name": "s", "dataset": "digits16", "attack": "badnets", "seed": [0, 1, 2]}


def plan(snapshots: list[int], seeds: list[int]) -> list:
    """The tasks of a small grid."""
    training = {"epochs": 9, "snapshots": snapshots}
    spec = parse_spec({**SPEC, "training": training, "seed": seeds}, "sweep.yaml")
    return plan_tasks(spec, spec.cells(), ["train", "mi"])


@pytest.fixture
def tasks():
    """Two runs of one training and two estimates each."""
    return plan([1, 3], [0, 1])


def names(tasks) -> list[tuple]:
    return [(task.cell.seed, task.stage, task.unit) for task in tasks]


def drain(frontier: Frontier) -> list:
    """Everything that is ready, in the order it is given out."""
    taken = []
    while (task := frontier.take(len(taken))) is not None:
        taken.append(task)
    return taken


def test_estimates_wait_for_their_snapshots(tasks, tmp_path):
    assert names(drain(Frontier(tasks, tmp_path))) == [(0, "train", 0), (1, "train", 0)]


def test_estimates_whose_snapshots_are_on_disk_are_ready_and_go_first(tasks, tmp_path):
    Snapshots(tmp_path, tasks[3].cell.run_id).save(3, nn.Linear(1, 1))
    assert names(drain(Frontier(tasks, tmp_path))) == [(1, "mi", 3), (0, "train", 0), (1, "train", 0)]


def test_a_snapshot_of_a_running_training_makes_its_estimate_the_next_task(tasks, tmp_path):
    frontier = Frontier(tasks, tmp_path)
    training = frontier.take("a")
    frontier.artifact_ready(training, 1)
    assert names(drain(frontier)) == [(0, "mi", 1), (1, "train", 0)]


def test_tasks_of_a_stage_keep_the_order_of_the_plan(tmp_path):
    frontier = Frontier(plan([1, 3, 5], [0, 1]), tmp_path)
    trainings = [frontier.take("a"), frontier.take("b")]
    for training in reversed(trainings):
        for epoch in (5, 1, 3):
            frontier.artifact_ready(training, epoch)
    assert names(drain(frontier)) == [(seed, "mi", epoch) for seed in (0, 1) for epoch in (1, 3, 5)]


def test_an_artifact_announced_twice_starts_its_estimate_once(tasks, tmp_path):
    frontier = Frontier(tasks[:3], tmp_path)
    training = frontier.take("a")
    for _ in range(2):
        frontier.artifact_ready(training, 1)
    assert names(drain(frontier)) == [(0, "mi", 1)]


def test_giving_up_on_a_training_returns_the_estimates_that_waited_for_it(tasks, tmp_path):
    frontier = Frontier(tasks, tmp_path)
    training = frontier.take("a")
    frontier.artifact_ready(training, 1)
    frontier.ended("a")
    assert names(frontier.give_up_on(training)) == [(0, "mi", 3)]
    assert names(drain(frontier)) == [(0, "mi", 1), (1, "train", 0)]


def test_a_surrogate_has_the_place_of_the_training_that_waits_for_it(tmp_path):
    attacks = ["badnets", {"name": "lc", "poison_ratio": 0.5}, "blend"]
    spec = parse_spec({**SPEC, "attack": attacks, "seed": 0, "training": {"epochs": 9, "snapshots": [9]}}, "s.yaml")
    frontier = Frontier(plan_tasks(spec, spec.cells(), ["train"]), tmp_path)
    taken = drain(frontier)
    assert [(task.cell.attack.name, task.stage) for task in taken] == [
        ("badnets", "train"), ("none", "surrogate"), ("blend", "train"),
    ]  # fmt: skip
    frontier.artifact_ready(taken[1], 9)
    assert [(task.cell.attack.name, task.stage) for task in drain(frontier)] == [("lc", "train")]


def test_it_is_empty_when_nothing_is_ready_or_running(tasks, tmp_path):
    frontier = Frontier(tasks[:1], tmp_path)
    assert not frontier.is_empty
    training = frontier.take("a")
    assert not frontier.is_empty
    assert frontier.ended("a") is training
    assert frontier.is_empty and frontier.take("b") is None


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 3), st.integers(0, 2**32))
def test_every_task_ends_exactly_once_and_no_estimate_starts_before_its_snapshot(snapshots, seeds, chance):
    random = Random(chance)
    tasks = plan(sorted(snapshots), list(range(seeds)))
    there = {(task.cell.run_id, task.unit) for task in tasks if task.stage == "mi" and random.random() < 0.2}
    with tempfile.TemporaryDirectory() as directory:
        for run_id, epoch in there:
            Snapshots(Path(directory), run_id).save(epoch, nn.Linear(1, 1))
        frontier = Frontier(tasks, Path(directory))
    left = {task.cell.run_id: sorted(snapshots) for task in tasks}
    ended = []
    for handle in range(1000):
        if random.random() < 0.5 and (task := frontier.take(handle)) is not None:
            assert task.stage == "train" or (task.cell.run_id, task.unit) in there
        if not frontier.running:
            continue
        chosen = random.choice(sorted(frontier.running))
        task = frontier.running[chosen]
        epochs = left[task.cell.run_id] if task.stage == "train" else []
        if random.random() < 0.2:
            ended += [frontier.ended(chosen), *frontier.give_up_on(task)]
        elif epochs:
            there.add((task.cell.run_id, epochs[0]))
            frontier.artifact_ready(task, epochs.pop(0))
        else:
            ended.append(frontier.ended(chosen))
        if frontier.is_empty:
            break
    assert sorted(names(ended)) == sorted(names(tasks))


def test_tasks_alike_are_taken_together_in_the_order_of_the_plan(tmp_path):
    tasks = plan([1], [0, 1, 2, 3, 4])
    frontier = Frontier(tasks, tmp_path, {"train": 2})
    assert names(frontier.take_together("a")) == [(0, "train", 0), (1, "train", 0)]
    assert list(frontier.running) == [("a", 0), ("a", 1)]
    frontier.artifact_ready(tasks[0], 1)
    assert names(frontier.take_together("b")) == [(0, "mi", 1)]
    assert names(frontier.take_together("c")) == [(2, "train", 0), (3, "train", 0)]
    assert names(frontier.take_together("d")) == [(4, "train", 0)]
    assert frontier.take_together("e") == []
    for handle in list(frontier.running):
        frontier.ended(handle)
    assert frontier.is_empty


def test_tasks_that_are_not_alike_are_not_taken_together(tmp_path):
    spec = parse_spec(
        {**SPEC, "architecture": ["small_cnn", "resnet10_8"], "dataset": ["digits16", "digits"], "seed": [0, 1]}, "s"
    )
    frontier = Frontier(plan_tasks(spec, spec.cells(), ["train"]), tmp_path, {"train": 9})
    packs = [frontier.take_together(handle) for handle in "abcd"]
    for pack in packs:
        assert [task.cell.seed for task in pack] == [0, 1]
        assert len({(task.cell.dataset.name, task.cell.architecture.name) for task in pack}) == 1
    assert frontier.take("e") is None
