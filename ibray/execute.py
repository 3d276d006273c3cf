"""One task from its beginning to its end, in whatever process it was sent to."""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import torch

from ibray.provenance import code, device_facts
from ibray.stages import STAGES
from ibray.stages.base import Context, News, Tables, Task
from ibray.store import Row, StageKey, group_by_key


class Sink(Protocol):
    """Where rows go: a `Store`, or a proxy of the one in another process."""

    def put(self, tables: Tables) -> None: ...
    def written(self, table: str, where: Row) -> set[tuple]: ...
    def begin(self, key: StageKey, **where: Any) -> Row: ...
    def finish(self, key: StageKey, tables: Tables, **facts: Any) -> None: ...
    def fail(self, key: StageKey, error: str, **facts: Any) -> None: ...
    def lost(self, key: StageKey, error: str) -> None: ...


def execute(
    task: Task,
    sink: Sink,
    *,
    out: Path,
    data_dir: Path | None,
    threads: int,
    tell: Callable[[News], None],
    node: str | None = None,
    gpus: float | None = None,
) -> None:
    """Run a task; its rows and its outcome go to `sink`.

    Args:
        task: what to do.
        sink: receives rows and the outcome.
        out: the sweep's output directory.
        data_dir: the dataset cache; None for the default.
        threads: how many CPU threads it may use.
        tell: receives the task's news.
        node: Ray's id of the machine; None without Ray.
        gpus: how many GPUs, or what fraction of one, the task has reserved; None for all of the one it uses.

    Raises:
        Exception: whatever the stage raised, after it was written down.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(threads)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        gpus = 1.0 if gpus is None else gpus
    else:
        gpus = 0.0
    known = sink.begin(task.key, node=node, **device_facts(device), **code())
    started = time.monotonic()

    def facts() -> dict[str, Any]:
        seconds = time.monotonic() - started
        spent = {"seconds": seconds, "gpu_seconds": gpus * seconds, "peak_memory_mb": _peak_memory_mb(device)}
        return {**known, **spent}

    on_the_way: list[Tables] = []

    def put(tables: Tables) -> None:
        on_the_way.append({table: list(rows) for table, rows in tables.items()})
        sink.put(on_the_way[-1])

    try:
        rows = STAGES[task.stage].run(Context(task, out, data_dir, device, put, sink.written, tell))
    except Exception as error:
        sink.fail(task.key, describe(error), **facts())
        raise
    # All rows once more: those put on the way are lost if the writer's process died before writing them.
    sink.finish(task.key, _newest([*on_the_way, rows]), **facts())


def _newest(puts: Iterable[Tables]) -> Tables:
    """The rows of several puts, those of a key from the last that has them."""
    newest: dict[str, dict[tuple, list[Row]]] = {}
    for tables in puts:
        for table, grouped in group_by_key(tables).items():
            newest.setdefault(table, {}).update(grouped)
    return {table: [row for rows in grouped.values() for row in rows] for table, grouped in newest.items()}


def describe(error: BaseException) -> str:
    """An exception as stored in the database: its message first, then where it came from."""
    return f"{type(error).__name__}: {error}\n\n{''.join(traceback.format_exception(error)).strip()}"


def _peak_memory_mb(device: torch.device) -> float:
    """Peak memory: the device's on a GPU, the process's own on a CPU; of this process so far, not of the task alone."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
