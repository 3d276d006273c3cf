"""The stages a cell passes through, in order. A new stage is one file here and one line below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ibray.cell import Cell
from ibray.collection import no_collection
from ibray.errors import UserError
from ibray.registry import Registry
from ibray.stages import embed, mi, perceptual, surrogate, train
from ibray.stages.base import Stage, Task

if TYPE_CHECKING:
    from ibray.spec import Resources, SweepSpec

STAGES: Registry[Stage] = Registry(
    "stage",
    {
        "surrogate": surrogate.STAGE,
        "train": train.STAGE,
        "mi": mi.STAGE,
        "perceptual": perceptual.STAGE,
        "embed": embed.STAGE,
    },
)


@no_collection()
def plan_tasks(spec: SweepSpec, cells: Iterable[Cell], only: Iterable[str] = ()) -> list[Task]:
    """Every unit of every stage of every cell, in the order of the grid; work that cells share is there once.

    only: names of stages, to plan these and what they need.

    Raises:
        UserError: `only` names a stage that does not exist, or none that has work in this sweep.
    """
    stages = [(name, stage, stage.settings(spec), stage.options(spec)) for name, stage in STAGES.items()]
    planned: dict[tuple[str, str], list[Task]] = {}
    for cell in cells:
        for name, stage, settings_of, options in stages:
            subject = stage.subject(cell)
            if subject is None or (subject.run_id, name) in planned:
                continue
            settings = settings_of(subject)
            units = stage.units(spec, subject)
            planned[subject.run_id, name] = [Task(subject, name, unit, settings, options) for unit in units]
    chosen = _with_needs(planned, only) if only else planned
    if not any(planned[which] for which in chosen):
        raise UserError(f"--stage {', '.join(only)}: nothing in this sweep asks for it")
    return [task for which, tasks in planned.items() if which in chosen for task in tasks]


def _with_needs(planned: Mapping[tuple[str, str], list[Task]], only: Iterable[str]) -> set[tuple[str, str]]:
    """The (run id, stage) of these stages, and of all that their tasks need."""
    names = {name for name in only if STAGES[name]}
    looking = [which for which in planned if which[1] in names]
    chosen = set(looking)
    while looking:
        tasks = planned.get(looking.pop(), [])
        needs = {need[:2] for task in tasks for need in STAGES[task.stage].needs(task)} - chosen
        chosen |= needs
        looking += needs
    return chosen


# Of a GPU, where `auto` is asked for and no such trial has run on one.
UNMEASURED = {"train": 1.0, "mi": 0.25}


def resources_of(spec: SweepSpec, stage: str) -> Resources:
    """What a trial of a stage reserves; `auto` that nothing was measured for is a share of its own kind."""
    share = STAGES[stage].share
    asked = getattr(spec.resources, share)
    return asked.model_copy(update={"gpu": UNMEASURED[share]}) if asked.gpu == "auto" else asked


def most_together(spec: SweepSpec) -> dict[str, int]:
    """How many units of each stage one trial takes at most."""
    pack = spec.resources.train.pack
    return {name: 1 if pack == "auto" or stage.together is None else pack for name, stage in STAGES.items()}


def threads_of(spec: SweepSpec) -> dict[str, int]:
    """CPU threads of a trial of each stage, with Ray and inline alike: they decide the last bits of a sum."""
    return {stage: resources_of(spec, stage).threads for stage in STAGES}
