"""The embed stage: where T of a few snapshots puts backdoor, target-class and clean images (the paper's Figs. 4, 8).

Off unless the sweep file has `embed:`. One unit per snapshot. The same images are taken at each, the subsets of stage
`mi` capped to equal shares; T is one noise draw. Leaves a map in `embeddings`, for the eye, and numbers computed on T
itself in `clusters`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ibray.cell import Cell
from ibray.embedding import backdoor_metrics, tsne_map
from ibray.mi.quantities import HIDDEN
from ibray.mi.subsets import subsets
from ibray.rundata import RunData
from ibray.seeds import derive_seed
from ibray.snapshot_network import SnapshotNetwork
from ibray.snapshots import stored_data
from ibray.stages.base import Context, Need, News, Settings, Stage, Tables

if TYPE_CHECKING:
    from ibray.spec import SweepSpec


def _settings(spec: SweepSpec) -> Callable[[Cell], Settings]:
    asked = {} if spec.embed is None else spec.embed.model_dump(mode="json", exclude={"epochs"})
    settings = Settings(asked, clean_classes=spec.mi.clean_classes)
    return lambda cell: settings


def _run(context: Context) -> Tables:
    task, settings, epoch = context.task, context.task.settings, context.task.unit
    cell, data = stored_data(context.out, task.cell.run_id, context.data_dir)
    indices = chosen_images(cell, data, settings)
    images = torch.cat(list(indices.values()))
    network = SnapshotNetwork(context.out, cell, epoch, len(data.class_names), context.device)
    drawn = network.draw(data.images[images], 1, purpose=("embed",)).layers[HIDDEN]
    t = drawn[:, 0].double().cpu().numpy()
    points = tsne_map(t, perplexity=settings["perplexity"], seed=derive_seed(cell.seed, "embed", epoch) % 2**31)
    names = np.repeat(list(indices), [len(each) for each in indices.values()])
    key = {"run_id": cell.run_id, "epoch": epoch}
    rows = [
        {**key, "image": image, "subset": str(subset), "method": settings["method"], "x": float(x), "y": float(y)}
        for image, subset, (x, y) in zip(images.tolist(), names, points, strict=True)
    ]
    target, backdoor = _names(cell)
    groups = {name: t[names == name] for name in indices}
    bad = groups.pop(backdoor, None)
    clean = groups.pop(f"{target}_clean") if bad is not None else groups.pop(target)
    metrics = [{**key, **dataclasses.asdict(each)} for each in backdoor_metrics(bad, clean, groups)]
    context.tell(News(steps=1))
    return {"embeddings": rows, "clusters": metrics}


def chosen_images(cell: Cell, data: RunData, settings: dict[str, Any]) -> dict[str, torch.LongTensor]:
    """Subset -> indices into the training set, each image in one subset and all at most `max_images`.

    The target class's backdoor and clean images (the class itself where there are none of both) and the clean classes.
    """
    target, backdoor = _names(cell)
    about = {"is_cover": data.is_cover, "clean_classes": settings["clean_classes"]}
    seed = derive_seed(cell.seed, "embed", "images")
    found = subsets(data.labels, data.is_backdoor, cell.target_class, **about)
    both = backdoor in found and f"{target}_clean" in found
    left_out = {f"{target}_sample", *([target] if both else [backdoor, f"{target}_clean"])}
    wanted = [name for name in found if name not in left_out]
    share = max(2, settings["max_images"] // len(wanted))
    capped = subsets(data.labels, data.is_backdoor, cell.target_class, **about, max_samples=share, seed=seed)
    return {name: capped[name] for name in wanted}


def _names(cell: Cell) -> tuple[str, str]:
    return str(cell.target_class), f"{cell.target_class}_backdoor"


STAGE = Stage(
    subject=lambda cell: cell,
    settings=_settings,
    units=lambda spec, cell: spec.embedded_snapshots(cell),
    needs=lambda task: [Need(task.cell.run_id, "train", task.unit)],
    has_artifact=None,
    steps=lambda cell: 1,
    step_name="maps",
    share="mi",
    run=_run,
)
