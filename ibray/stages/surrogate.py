"""The surrogate stage: trains the clean network of attacks that craft their images, once for all cells that need it.

It is an ordinary training of `surrogate_cell(cell)`. Its rows stand in `epochs` and its state in `stages`, under a run
id of its own that `runs.surrogate` names; it is no run of the grid.
"""

from __future__ import annotations

from ibray.snapshots import Snapshots
from ibray.stages import train
from ibray.stages.base import Settings, Stage
from ibray.surrogate import surrogate_cell

STAGE = Stage(
    subject=surrogate_cell,
    settings=lambda spec: lambda cell: Settings(snapshots=[cell.training.epochs]),
    units=lambda spec, cell: [0],
    needs=lambda task: [],
    has_artifact=lambda out, run_id, epoch: Snapshots(out, run_id).has(epoch),
    steps=lambda cell: cell.training.epochs,
    step_name="epochs",
    share="train",
    run=train.run,
)
