"""The training stage: one per run; leaves rows per epoch, example images, and snapshots for the stages after it.

Its artifacts are snapshots by their epochs, and as unit 0 the recipe of the run's data.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import nn

from ibray.cell import Cell
from ibray.datasets import load_dataset
from ibray.packed_training import Member, fits_into_a_pack, train_packed
from ibray.rundata import RunData, build_run_data
from ibray.snapshots import Snapshots
from ibray.stages.base import Context, Need, News, Settings, Stage, Tables, Task, Together
from ibray.surrogate import load_surrogate, surrogate_cell
from ibray.training import EpochResult, train

if TYPE_CHECKING:
    from ibray.spec import SweepSpec

EXAMPLES = 6
DATA = 0  # the artifact that is the run's data


def _settings(spec: SweepSpec) -> Callable[[Cell], Settings]:
    by_epochs: dict[int, Settings] = {}

    def settings(cell: Cell) -> Settings:
        epochs = cell.training.epochs
        if epochs not in by_epochs:
            by_epochs[epochs] = Settings(snapshots=spec.snapshots(cell))
        return by_epochs[epochs]

    return settings


def _needs(task: Task) -> list[Need]:
    surrogate = surrogate_cell(task.cell)
    return [Need(surrogate.run_id, "surrogate", surrogate.training.epochs)] if surrogate else []


def _has_artifact(out: Path, run_id: str, unit: int) -> bool:
    snapshots = Snapshots(out, run_id)
    return snapshots.has_recipe() if unit == DATA else snapshots.has(unit)


def run(context: Context) -> Tables:
    """Train the task's cell; the surrogate stage does the same with its own."""
    run = _prepared(context)
    train(**run, device=context.device, compile_model=context.task.options.get("compile", False))
    return {"examples": example_rows(context.task.cell.run_id, run["data"])}


def run_together(contexts: Sequence[Context], ended: Callable[[int, Tables | Exception], None]) -> None:
    """Train the cells of several tasks as one network (ibray/packed_training.py)."""
    members = []
    for position, context in enumerate(contexts):
        try:
            members.append(_member(context, partial(ended, position)))
        except Exception as error:  # of any kind: the others go on
            ended(position, error)
    train_packed(members, device=contexts[0].device)


def _member(context: Context, ended: Callable[[Tables | Exception], None]) -> Member:
    run = _prepared(context)
    rows = {"examples": example_rows(context.task.cell.run_id, run["data"])}
    return Member(**run, on_end=lambda error: ended(error or rows))


def _together(task: Task) -> Hashable | None:
    """Training alike but for attack, ratio, target class, sigma and seed; compiled, it is another computation."""
    cell = task.cell
    if task.options.get("compile") or not fits_into_a_pack(cell):
        return None
    return cell.dataset, cell.architecture.json, cell.training.json


def _prepared(context: Context) -> dict[str, Any]:
    """What `training.train` is told about the task's run; its recipe is on disk when this returns."""
    cell, run_id = context.task.cell, context.task.cell.run_id
    snapshots = Snapshots(context.out, run_id)
    data = _data(context, snapshots)
    snapshots.save_recipe(cell, data)
    context.tell(News(steps=0, artifact=DATA))

    def on_epoch(result: EpochResult) -> None:
        losses = [{"run_id": run_id, **row} for row in result.class_losses]
        context.put({"epochs": [{"run_id": run_id, **result.metrics}], "class_losses": losses})
        context.tell(News(steps=result.epoch))

    def on_snapshot(epoch: int, model: nn.Module) -> None:
        snapshots.save(epoch, model)
        context.tell(News(steps=epoch, artifact=epoch))

    return {
        "cell": cell,
        "data": data,
        "snapshots": [epoch for epoch in context.task.settings["snapshots"] if not snapshots.has(epoch)],
        "checkpoints": context.out / "checkpoints" / run_id,
        "on_epoch": on_epoch,
        "on_snapshot": on_snapshot,
    }


def _data(context: Context, snapshots: Snapshots) -> RunData:
    """The run's data; what an earlier attempt crafted is used again, as another device would craft other bits."""
    cell, parts, surrogate = context.task.cell, snapshots.parts(), surrogate_cell(context.task.cell)
    network = None
    if surrogate and parts is None:
        classes = len(load_dataset(cell.dataset.name, data_dir=context.data_dir).class_names)
        network = load_surrogate(context.out, surrogate, classes, context.device)
    return build_run_data(cell, context.data_dir, parts=parts, surrogate=network)


def example_rows(run_id: str, data: RunData) -> list[dict[str, Any]]:
    """A few backdoor images from all over the training set: clean, triggered, ten times the difference, as PNG."""
    rows = []
    poisoned = torch.nonzero(data.is_backdoor).flatten()
    for index in poisoned[:: max(1, len(poisoned) // EXAMPLES)][:EXAMPLES].tolist():
        clean, triggered = data.clean_images[index], data.images[index]
        difference = (triggered.int() - clean.int()).abs().mul(10).clamp(max=255).to(torch.uint8)
        label = data.class_names[data.original_labels[index]]
        for kind, image in [("clean", clean), ("triggered", triggered), ("difference", difference)]:
            rows.append({"run_id": run_id, "image": index, "label": label, "kind": kind, "png": _png(image)})
    return rows


def _png(image: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "PNG")
    return buffer.getvalue()


STAGE = Stage(
    subject=lambda cell: cell,
    settings=_settings,
    units=lambda spec, cell: [0],
    needs=_needs,
    has_artifact=_has_artifact,
    steps=lambda cell: cell.training.epochs,
    step_name="epochs",
    share="train",
    run=run,
    options=lambda spec: {"compile": spec.training.compile},
    together=Together(key=_together, run=run_together),
)
