"""The stages a cell passes through, in order. A new stage is one file here and one line below."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ibray.cell import Cell
from ibray.registry import Registry
from ibray.stages import mi, surrogate, train
from ibray.stages.base import Stage, Task

if TYPE_CHECKING:
    from ibray.spec import Resources, SweepSpec

STAGES: Registry[Stage] = Registry(
    "stage",
    {"surrogate": surrogate.STAGE, "train": train.STAGE, "mi": mi.STAGE},
)


def plan_tasks(spec: SweepSpec, cells: Iterable[Cell]) -> list[Task]:
    """Every unit of every stage of every cell, in the order of the grid; work that cells share is there once."""
    options = {name: stage.options(spec) for name, stage in STAGES.items()}
    planned = set()
    tasks = []
    for cell in cells:
        for name, stage in STAGES.items():
            subject = stage.subject(cell)
            if subject is None or (subject.run_id, name) in planned:
                continue
            planned.add((subject.run_id, name))
            settings = stage.settings(spec, subject)  # once, however many units
            tasks += [Task(subject, name, unit, settings, options[name]) for unit in stage.units(spec, subject)]
    return tasks


def resources_of(spec: SweepSpec, stage: str) -> Resources:
    """What a trial of a stage reserves."""
    return getattr(spec.resources, STAGES[stage].share)


def threads_of(spec: SweepSpec) -> dict[str, int]:
    """CPU threads of a trial of each stage, with Ray and inline alike: they decide the last bits of a sum."""
    return {stage: resources_of(spec, stage).threads for stage in STAGES}
