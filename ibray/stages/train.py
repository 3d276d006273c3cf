"""The training stage: one per run; leaves rows per epoch, example images, and snapshots for the stages after it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import nn

from ibray.cell import Cell
from ibray.rundata import RunData, build_run_data
from ibray.snapshots import Snapshots
from ibray.stages.base import Context, News, Stage, Tables
from ibray.training import EpochResult, train

if TYPE_CHECKING:
    from ibray.spec import SweepSpec

EXAMPLES = 6


def _settings(spec: SweepSpec, cell: Cell) -> dict[str, Any]:
    return {"snapshots": spec.snapshots(cell)}


def _has_snapshot(out: Path, run_id: str, epoch: int) -> bool:
    return Snapshots(out, run_id).has(epoch)


def _run(context: Context) -> Tables:
    cell, run_id = context.task.cell, context.task.cell.run_id
    data = build_run_data(cell, context.data_dir)
    snapshots = Snapshots(context.out, run_id)
    snapshots.save_recipe(cell, data)
    epochs: list[dict[str, Any]] = []
    class_losses: list[dict[str, Any]] = []

    def on_epoch(result: EpochResult) -> None:
        epochs.append({"run_id": run_id, **result.metrics})
        losses = [{"run_id": run_id, **row} for row in result.class_losses]
        class_losses.extend(losses)
        context.put({"epochs": epochs[-1:], "class_losses": losses})
        context.tell(News(steps=result.epoch))

    def on_snapshot(epoch: int, model: nn.Module) -> None:
        snapshots.save(epoch, model)
        context.tell(News(steps=epoch, artifact=epoch))

    train(
        cell,
        data,
        device=context.device,
        snapshots=[epoch for epoch in context.task.settings["snapshots"] if not snapshots.has(epoch)],
        checkpoints=context.out / "checkpoints" / run_id,
        on_epoch=on_epoch,
        on_snapshot=on_snapshot,
        compile_model=context.task.options.get("compile", False),
    )
    # All rows once more: those put on the way are lost if the writer's process died before writing them.
    return {"epochs": epochs, "class_losses": class_losses, "examples": example_rows(run_id, data)}


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
    settings=_settings,
    units=lambda spec, cell: [0],
    needs=lambda unit: None,
    has_artifact=_has_snapshot,
    steps=lambda cell: cell.training.epochs,
    step_name="epochs",
    run=_run,
)
