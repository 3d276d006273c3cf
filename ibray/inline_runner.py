"""The same tasks one after another in this process, without Ray: for debugging, and for machines without it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from ibray.execute import describe, execute
from ibray.frontier import Frontier, give_up
from ibray.progress import Progress
from ibray.retention import Retention
from ibray.stages.base import News, Task
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
    retries: int,
    fail_fast: bool,
) -> None:
    """Run tasks and whatever they make possible; `artifacts` as `storage.artifacts_of` gives them.

    Raises:
        Exception: the first failure, with `fail_fast`.
    """
    frontier = Frontier(tasks, artifacts)
    while (task := frontier.take("inline")) is not None:

        def tell(news: News, task: Task = task) -> None:
            if news.artifact is not None:
                frontier.artifact_ready(task, news.artifact)
            progress.news(task, news)

        run = partial(execute, task, store, out=artifacts, data_dir=data_dir, threads=threads[task.stage], tell=tell)
        error = _attempt(run, 1 if fail_fast else 1 + retries)
        frontier.ended("inline")
        if error is None:
            progress.done(task)
            retention.done(task)
            continue
        give_up(task, describe(error), frontier, store, progress)
        if fail_fast:
            raise error


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
