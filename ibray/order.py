"""In which order the cells of a grid run: the cheap ones first, so that results come early, unless told otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ibray.cell import Cell
from ibray.datasets import dataset_sizes
from ibray.errors import UserError
from ibray.stages.base import Task
from ibray.work import train_flop

ORDERS = ("cheap", "grid", "expensive")


def check_order(order: str) -> None:
    """Refuse an order that there is not."""
    if order not in ORDERS:
        raise UserError(f"--order {order}: choose one of {', '.join(ORDERS)}")


def in_order(tasks: Iterable[Task], order: str, data_dir: Path | None = None) -> list[Task]:
    """The tasks by the FLOPs of their cell's training, those of equal cost as in the file; 'grid' leaves them so."""
    tasks = list(tasks)
    if order == "grid":
        return tasks
    costs: dict[tuple, int] = {}

    def cost(task: Task) -> int:
        kind = _kind(task.cell)
        if kind not in costs:
            choice = task.cell.dataset
            sizes = dataset_sizes(
                choice.name, data_dir=data_dir, per_class=choice.per_class, test_per_class=choice.test_per_class
            )
            costs[kind] = train_flop(task, sizes)
        return costs[kind]

    return sorted(tasks, key=cost, reverse=order == "expensive")


def _kind(cell: Cell) -> tuple:
    """What cells of about the same cost share; attacks differ in a few forward passes alone."""
    return cell.dataset, str(cell.architecture), cell.training
