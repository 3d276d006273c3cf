"""The perceptual stage: how visible a run's trigger is, on test images and on the training images it was put on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ibray.attacks import get_attack
from ibray.cell import Cell
from ibray.lpips import LpipsSource, find_lpips, load_lpips
from ibray.perceptual import evenly, measure
from ibray.snapshots import stored_data
from ibray.stages.base import Context, Need, News, Settings, Stage, Tables
from ibray.stages.train import DATA

if TYPE_CHECKING:
    from ibray.spec import SweepSpec


def lpips_of(spec: SweepSpec) -> LpipsSource | None:
    """The LPIPS weights of a sweep, None when there are none."""
    weights = spec.perceptual.lpips_weights
    return _find(Path(weights)) if weights else find_lpips()


@lru_cache(maxsize=1)
def _find(weights: Path) -> LpipsSource:
    """Once a process, not once a cell: the file is read to be checked."""
    return find_lpips(weights)


def _settings(spec: SweepSpec) -> Callable[[Cell], Settings]:
    source = lpips_of(spec)
    settings = Settings(images=spec.perceptual.images, lpips=source and source.identity)
    return lambda cell: settings


def _run(context: Context) -> Tables:
    cell, data = stored_data(context.out, context.task.cell.run_id, context.data_dir)
    attack = get_attack(cell.attack.name, **cell.attack.params)
    attacked = attack.is_attacked(data.test_labels, cell.target_class)
    poisoned = torch.nonzero(data.is_backdoor).flatten()
    most = context.task.settings["images"]
    at_test, in_training = (evenly(each, most) for each in (torch.arange(len(data.asr_images)), poisoned))
    pairs = {
        "test": (data.test_images[attacked][at_test], data.asr_images[at_test]),
        "train": (data.clean_images[in_training], data.images[in_training]),
    }
    source = context.task.options["lpips"]
    lpips = load_lpips(LpipsSource(**source), context.device) if source else None
    rows = [
        {"run_id": cell.run_id, "images": images, **dataclasses.asdict(metric)}
        for images, (clean, triggered) in pairs.items()
        for metric in measure(clean, triggered, lpips=lpips, device=context.device)
    ]
    context.tell(News(steps=1))
    return {"perceptual": rows}


STAGE = Stage(
    subject=lambda cell: None if cell.attack.name == "none" else cell,
    settings=_settings,
    units=lambda spec, cell: [0],
    needs=lambda task: [Need(task.cell.run_id, "train", DATA)],
    has_artifact=None,
    steps=lambda cell: 1,
    step_name="triggers",
    share="mi",
    run=_run,
    options=lambda spec: {"lpips": (source := lpips_of(spec)) and dataclasses.asdict(source)},
)
