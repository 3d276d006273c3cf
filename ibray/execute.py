"""One task from its beginning to its end, in whatever process it was sent to."""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
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


class Attempt:
    """One attempt at a task: what is written down of it, from its beginning to its end.

    Args:
        gpus: how many GPUs, or what fraction of one, it has to itself.
        where: the machine and the code, as columns of `stages`.
    """

    def __init__(self, task: Task, sink: Sink, device: torch.device, gpus: float, where: Row):
        self.task, self._sink, self._device, self._gpus = task, sink, device, gpus
        self._known = sink.begin(task.key, **where)
        self._started = time.monotonic()
        self._on_the_way: list[Tables] = []

    def put(self, tables: Tables) -> None:
        """Write rows on the way."""
        self._on_the_way.append({table: list(rows) for table, rows in tables.items()})
        self._sink.put(self._on_the_way[-1])

    def done(self, rows: Tables) -> None:
        """It ended well, with these rows and those on the way, which a writer that died may not have written."""
        self._sink.finish(self.task.key, _newest([*self._on_the_way, rows]), **self._facts())

    def failed(self, error: Exception) -> None:
        """It ended with an exception."""
        self._sink.fail(self.task.key, describe(error), **self._facts())

    def _facts(self) -> dict[str, Any]:
        seconds = time.monotonic() - self._started
        spent = {"gpu_seconds": self._gpus * seconds, "peak_memory_mb": peak_memory_mb(self._device)}
        return {**self._known, "seconds": seconds, **spent}


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
    device = device_of(threads)
    gpus = _reserved(device, gpus)
    attempt = Attempt(task, sink, device, gpus, {"node": node, **device_facts(device), **code()})
    try:
        rows = STAGES[task.stage].run(Context(task, out, data_dir, device, attempt.put, sink.written, tell))
    except Exception as error:
        attempt.failed(error)
        raise
    attempt.done(rows)


def execute_together(
    tasks: Sequence[Task],
    sink: Sink,
    *,
    out: Path,
    data_dir: Path | None,
    threads: int,
    tell: Callable[[int, News], None],
    ended: Callable[[int, Exception | None], None],
    fail_fast: bool,
    node: str | None = None,
    gpus: float | None = None,
) -> None:
    """Run the tasks of one trial that are not done already; arguments as `execute`.

    A task that fails leaves the others be. Each has its own row of `stages`, where `seconds` are those of the trial
    that it shared, and `gpu_seconds` its equal share, so that their sum is what the GPU was reserved for.

    Args:
        tasks: of one stage, as `Frontier.take_together` gives them.
        tell: receives the news of the task at a position.
        ended: is told how the task at a position ended: None, or what was raised.
        fail_fast: the first task that fails ends all.

    Raises:
        Exception: the first that a task raised, when all have ended.
    """
    if len(tasks) == 1:
        execute(
            tasks[0], sink, out=out, data_dir=data_dir, threads=threads, tell=partial(tell, 0), node=node, gpus=gpus
        )
        ended(0, None)
        return
    left = []
    for position, task in enumerate(tasks):
        if sink.written("stages", {**task.key._asdict(), "status": "done"}):
            ended(position, None)
        else:
            left.append(position)
    device = device_of(threads)
    gpus = _reserved(device, gpus)
    where = {"node": node, **device_facts(device), **code()}
    attempts = [Attempt(tasks[position], sink, device, gpus / len(left), where) for position in left]
    contexts = [
        Context(attempt.task, out, data_dir, device, attempt.put, sink.written, partial(tell, position))
        for position, attempt in zip(left, attempts, strict=True)
    ]
    errors = []

    def one_ended(which: int, outcome: Tables | Exception) -> None:
        if not isinstance(outcome, Exception):
            attempts[which].done(outcome)
            ended(left[which], None)
            return
        attempts[which].failed(outcome)
        ended(left[which], outcome)
        errors.append(outcome)
        if fail_fast:
            raise outcome

    if left:
        STAGES[tasks[0].stage].together.run(contexts, one_ended)
    if errors:
        raise errors[0]


def device_of(threads: int) -> torch.device:
    """The device of this process, with so many CPU threads, its peak of memory forgotten."""
    torch.set_num_threads(threads)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    torch.cuda.reset_peak_memory_stats()
    return torch.device("cuda")


def _reserved(device: torch.device, gpus: float | None) -> float:
    if device.type != "cuda":
        return 0.0
    return 1.0 if gpus is None else gpus


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


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory: the device's on a GPU, the process's own on a CPU; of this process so far, not of the task alone."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
