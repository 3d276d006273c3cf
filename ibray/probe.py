"""A short piece of a trial, timed; `ibray tune-resources` starts several of these processes side by side.

    python -m ibray.probe < REQUEST

The first line of standard input is a `Request` as JSON. The process says `ready` when it is warm, starts with the next
line, works for so many seconds, and prints a `Measured` as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ibray.cell import Cell
from ibray.execute import device_of, peak_memory_mb
from ibray.packed_training import Together
from ibray.rundata import RunData, build_run_data
from ibray.snapshots import Snapshots
from ibray.stages import STAGES
from ibray.stages.base import Context, Settings, Task
from ibray.training import Trainer

TRAIN_STEPS = 4  # between two looks at the clock
MI_IMAGES = {"cpu": 100, "cuda": 2000}  # of a subset at most
MI_CRITIC_EPOCHS = 2


@dataclass(frozen=True)
class Request:
    """What to time.

    Attributes:
        kind: `train`, steps of training; or `mi`, estimates of a snapshot, of few images and with short critics.
        cell: as `Cell.to_dict` gives it.
        settings: of stage `mi`; empty for `train`.
        threads: CPU threads.
        members: networks trained as one.
        seconds: how long, at least.
        data_dir: the dataset cache; None for the default.
    """

    kind: str
    cell: dict[str, Any]
    settings: dict[str, Any]
    threads: int
    members: int
    seconds: float
    data_dir: str | None


@dataclass(frozen=True)
class Measured:
    """Units of work a second (images of all members, or snapshots), and peak memory in MiB of device or process."""

    per_second: float
    peak_mb: float


def main() -> None:
    request = Request(**json.loads(sys.stdin.readline()))
    with tempfile.TemporaryDirectory() as scratch:
        work = prepare(request, Path(scratch))
        work()
        print("ready", flush=True)
        sys.stdin.readline()
        started, units = time.perf_counter(), 0
        while time.perf_counter() - started < request.seconds:
            units += work()
        seconds = time.perf_counter() - started
    peak = peak_memory_mb(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    print(json.dumps(asdict(Measured(units / seconds, peak))))


def prepare(request: Request, scratch: Path) -> Callable[[], int]:
    """The piece of work that is repeated; it returns how many units it has done."""
    device = device_of(request.threads)
    cell = Cell.from_dict(request.cell)
    data = build_run_data(cell, request.data_dir and Path(request.data_dir))
    if request.kind == "mi":
        return _estimates(cell, data, request, device, scratch)
    return _steps(cell, data, request.members, device, scratch)


def _steps(cell: Cell, data: RunData, members: int, device: torch.device, scratch: Path) -> Callable[[], int]:
    images = min(TRAIN_STEPS * cell.training.batch_size, len(data.labels))
    per_image = ("images", "labels", "is_backdoor", "is_cover")
    data = replace(data, **{name: getattr(data, name)[:images] for name in per_image})
    trainers = [Trainer(replace(cell, seed=seed), data, device, scratch, False) for seed in range(members)]
    together = Together(trainers, device) if members > 1 else None

    def work() -> int:
        if together is None:
            trainers[0]._train_epoch(1)
        else:
            together.train_epoch()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return members * images

    return work


def _estimates(cell: Cell, data: RunData, request: Request, device: torch.device, scratch: Path) -> Callable[[], int]:
    epoch = cell.training.epochs
    snapshots = Snapshots(scratch, cell.run_id)
    snapshots.save_recipe(cell, data)
    snapshots.save(epoch, Trainer(cell, data, torch.device("cpu"), scratch, False).model)
    task = Task(cell, "mi", epoch, Settings(shortened(request.settings, MI_IMAGES[device.type])))
    data_dir = request.data_dir and Path(request.data_dir)
    context = Context(task, scratch, data_dir, device, lambda tables: None, lambda *where: set(), lambda news: None)

    def work() -> int:
        STAGES["mi"].run(context)
        return 1

    return work


def shortened(settings: dict[str, Any], images: int) -> dict[str, Any]:
    """Settings of stage `mi` for at most so many images of a subset and critics of few epochs."""

    def short(each: Any) -> Any:
        if not isinstance(each, dict):
            return each
        values = {key: short(value) for key, value in each.items()}
        if "max_epochs" in values:
            values["max_epochs"] = min(values["max_epochs"], max(MI_CRITIC_EPOCHS, values.get("report_last") or 0))
        return values

    fewer = min(images, settings["max_samples"] or images)
    return {**settings, "max_samples": fewer, "protocols": [short(protocol) for protocol in settings["protocols"]]}


if __name__ == "__main__":
    main()
