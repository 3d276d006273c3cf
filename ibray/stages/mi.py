"""The MI stage: one unit per snapshot; draws T and Y_hat once and estimates every subset and quantity from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ibray.cell import Cell
from ibray.mi import ESTIMATORS
from ibray.mi.classwise import SnapshotEstimate, estimate_snapshot
from ibray.mi.subsets import subsets
from ibray.seeds import derive_seed
from ibray.snapshots import Snapshots, stored_data
from ibray.stages.base import Context, Need, News, Stage, Tables
from ibray.training import EVALUATION_BATCH, as_input, build_model

if TYPE_CHECKING:
    from ibray.spec import SweepSpec


def _settings(spec: SweepSpec, cell: Cell) -> dict[str, Any]:
    return {**spec.mi.model_dump(mode="json", exclude={"ixt", "ity"}), "quantities": spec.mi.quantities()}


def _run(context: Context) -> Tables:
    task, settings, epoch = context.task, context.task.settings, context.task.unit
    cell, data = stored_data(context.out, task.cell.run_id, context.data_dir)
    chosen = subsets(
        data.labels,
        data.is_backdoor,
        cell.target_class,
        is_cover=data.is_cover,
        clean_classes=settings["clean_classes"],
        max_samples=settings["max_samples"],
        seed=derive_seed(cell.seed, "subsets"),
    )
    used, positions = torch.unique(torch.cat(list(chosen.values())), return_inverse=True)
    images = data.images[used]
    t, yhat = draw_features(context, cell, len(data.class_names), images, settings["draws"], settings["yhat"])
    estimates = estimate_snapshot(
        images.to(context.device),
        t,
        yhat,
        dict(zip(chosen, positions.split([len(indices) for indices in chosen.values()]), strict=True)),
        seed=derive_seed(cell.seed, "mi", epoch),
        estimator=settings["estimator"],
        settings_by_quantity=settings["quantities"],
    )
    context.tell(News(steps=1))
    key = {
        "run_id": cell.run_id,
        "epoch": epoch,
        "estimator": settings["estimator"],
        "protocol": next(iter(ESTIMATORS[settings["estimator"]].protocols)),
        "settings": task.key.settings,
    }
    return {
        "estimates": [{**key, **_estimate_columns(each)} for each in estimates],
        "mi_curves": [{**key, **columns} for each in estimates for columns in _curve_columns(each)],
    }


@torch.inference_mode()
def draw_features(
    context: Context, cell: Cell, num_classes: int, images: torch.Tensor, draws: int, yhat: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy forward passes of a snapshot's network.

    Args:
        context: names the snapshot and the device.
        cell: whose network it is.
        num_classes: outputs of the network.
        images: (N, C, H, W) uint8.
        draws: M, how many noise draws per image.
        yhat: 'softmax' or 'logits'.

    Returns:
        T (N, M, T_dim) and Y_hat (N, M, num_classes), float32, draw m of one belonging to draw m of the other.
    """
    model = build_model(cell, num_classes, context.device)
    Snapshots(context.out, cell.run_id).load_weights(context.task.unit, model)
    model.eval()
    torch.manual_seed(derive_seed(cell.seed, "draws", context.task.unit))
    features, outputs = [], []
    for batch in images.to(context.device).split(EVALUATION_BATCH[context.device.type]):
        inputs = as_input(batch)
        drawn = [model(inputs, return_features=True) for _ in range(draws)]
        features.append(torch.stack([t for t, _ in drawn], dim=1))
        outputs.append(torch.stack([logits for _, logits in drawn], dim=1))
    logits = torch.cat(outputs)
    return torch.cat(features), logits.softmax(-1) if yhat == "softmax" else logits


def _estimate_columns(each: SnapshotEstimate) -> dict[str, Any]:
    about = {**_names(each), "n": each.n, "seconds": each.seconds}
    if each.estimate is None:
        return {**about, "status": "failed", "error": each.error}
    columns = ("nats", "ci_low", "ci_high", "lower_bound", "upper_bound", "ceiling", "negatives", "critic_epochs")
    return {**about, **{name: getattr(each.estimate, name) for name in columns}, "status": "done"}


def _curve_columns(each: SnapshotEstimate) -> list[dict[str, Any]]:
    curve = each.estimate.curve if each.estimate else ()
    return [{**_names(each), "critic_epoch": i, "nats": nats} for i, nats in enumerate(curve, start=1)]


def _names(each: SnapshotEstimate) -> dict[str, str]:
    return {"subset": each.subset, "quantity": each.quantity, "layer": each.layer}


STAGE = Stage(
    subject=lambda cell: cell,
    settings=_settings,
    units=lambda spec, cell: spec.snapshots(cell),
    needs=lambda task: [Need(task.cell.run_id, "train", task.unit)],
    has_artifact=None,
    steps=lambda cell: 1,
    step_name="snapshots",
    share="mi",
    run=_run,
)
