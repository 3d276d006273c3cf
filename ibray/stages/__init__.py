"""The stages a cell passes through, in order. A new stage is one file here and one line below."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ibray.cell import Cell
from ibray.registry import Registry
from ibray.stages import mi, train
from ibray.stages.base import Stage, Task

if TYPE_CHECKING:
    from ibray.spec import SweepSpec

STAGES: Registry[Stage] = Registry("stage", {"train": train.STAGE, "mi": mi.STAGE})


def plan_tasks(spec: SweepSpec, cells: Iterable[Cell]) -> list[Task]:
    """Every unit of every stage of every cell, in the order of the grid."""
    options = {"train": {"compile": spec.training.compile}}
    return [
        Task(cell, name, unit, settings, options.get(name, {}))
        for cell in cells
        for name, stage in STAGES.items()
        for settings in [stage.settings(spec, cell)]  # once, however many units
        for unit in stage.units(spec, cell)
    ]
