"""The same tasks one after another in this process, without Ray: for debugging, and for machines without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from ibray.execute import describe, execute_together
from ibray.frontier import Frontier
from ibray.handout import Handout
from ibray.progress import Progress
from ibray.retention import Retention
from ibray.stages.base import Task
from ibray.store import Store


def run_inline(
    tasks: Iterable[Task],
    *,
    artifacts: Path,
    data_dir: Path | None,
    store: Store,
    progress: Progress,
    retention: Retention,
    threads: Mapping[str, int],
    most_together: Mapping[str, int],
    retries: int,
    fail_fast: bool,
) -> None:
    """Run tasks and whatever they make possible; `artifacts` as `storage.artifacts_of` gives them.

    Raises:
        Exception: the first failure, with `fail_fast`.
    """
    frontier = Frontier(tasks, artifacts, most_together)
    while trial := frontier.take_together("inline"):
        handout = Handout("inline", trial, frontier, progress, retention)
        run = partial(
            execute_together,
            trial,
            store,
            out=artifacts,
            data_dir=data_dir,
            threads=threads[trial[0].stage],
            tell=handout.news,
            ended=partial(_ended, handout),
            fail_fast=fail_fast,
        )
        error = _attempt(run, 1 if fail_fast else 1 + retries)
        if error is None:
            handout.all_done()
            continue
        handout.give_up(describe(error), store, fail_fast)
        if fail_fast:
            raise error


def _ended(handout: Handout, position: int, error: Exception | None) -> None:
    if error is None:
        handout.done(position)
    else:
        handout.failed(position, describe(error))


def _attempt(run: Callable[[], None], attempts: int) -> Exception | None:
    """Try several times; the last error, None when it worked."""
    for attempt in range(attempts):
        try:
            run()
        except Exception as error:  # of any kind: it is in the database, and the other cells go on
            if attempt == attempts - 1:
                return error
        else:
            return None
    return None
