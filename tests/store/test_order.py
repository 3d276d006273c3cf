"""Cheap cells first: by the work of their training, in the order of the file where that is equal."""

from __future__ import annotations

import pytest

from ibray.errors import UserError
from ibray.order import ORDERS, check_order, in_order
from ibray.spec import parse_spec
from ibray.stages import plan_tasks

SPEC = {
    "name": "s",
    "dataset": ["digits", {"name": "digits", "per_class": 20, "test_per_class": 5}],
    "attack": ["none", "badnets"],
    "architecture": ["resnet18", "resnet10_8"],
    "seed": [0, 1],
    "training": {"epochs": 2, "snapshots": [1, 2]},
}


@pytest.fixture
def tasks():
    spec = parse_spec(SPEC, "s.yaml")
    return plan_tasks(spec, spec.cells(), ["train", "mi"])


def kinds(tasks) -> list[tuple]:
    """Dataset and architecture, each run of equal ones once."""
    found = []
    for task in tasks:
        kind = (task.cell.dataset.per_class, task.cell.architecture.name)
        if kind not in found[-1:]:
            found.append(kind)
    return found


def test_cheap_goes_from_small_to_large_and_expensive_back(tasks):
    cheap = [(20, "resnet10_8"), (None, "resnet10_8"), (20, "resnet18"), (None, "resnet18")]
    assert kinds(in_order(tasks, "cheap")) == cheap
    assert kinds(in_order(tasks, "expensive")) == cheap[::-1]


def test_grid_is_the_file_s_and_equal_costs_keep_it(tasks):
    assert in_order(tasks, "grid") == tasks
    for order in ORDERS:
        ordered = in_order(tasks, order)
        assert sorted(map(tasks.index, ordered)) == list(range(len(tasks)))
        for kind in kinds(tasks):
            of_kind = [t for t in tasks if (t.cell.dataset.per_class, t.cell.architecture.name) == kind]
            assert [t for t in ordered if t in of_kind] == of_kind


def test_an_unknown_order_is_told_which_there_are():
    with pytest.raises(UserError, match="--order fast: choose one of cheap, grid, expensive"):
        check_order("fast")
