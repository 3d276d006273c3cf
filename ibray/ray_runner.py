"""Tasks as Ray Tune trials: one Tune run holds both kinds, each with its own fraction of the machine.

Tune asks a searcher for the next trial. Ours hands out whatever the frontier says may start, so a snapshot's MI runs
while other networks still train, and trials with the same resources reuse the same worker processes.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

# Read by Ray when it is imported: no loggers of its own, no experiment state to restore (DuckDB is our memory),
# and Ctrl-C ends the run at once.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the old output honours verbose=0

import ray
from ray import tune
from ray.tune import Callback, FailureConfig, PlacementGroupFactory, RunConfig, TuneConfig, Tuner
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ibray.errors import UserError
from ibray.execute import execute_together
from ibray.frontier import Frontier
from ibray.handout import Handout
from ibray.malloc import GLIBC_TUNABLES
from ibray.metrics import MeasuredStore
from ibray.node_types import NodeTypes, node_types_to_come
from ibray.packing import packed, peaks
from ibray.placement import amounts, bundles_of, fits, homeless, largest, refusal
from ibray.progress import Progress
from ibray.retention import Retention
from ibray.room import Room
from ibray.spec import SweepSpec
from ibray.stages import STAGES, most_together, threads_of
from ibray.stages.base import News, Tables, Task
from ibray.storage import root_of
from ibray.store import Row, StageKey

NAMESPACE = "ibray"
CONNECT_SECONDS = 10.0
LOCAL_OBJECT_STORE_BYTES = 200 * 2**20  # nothing large travels between processes: snapshots go through files


def start_ray(address: str | None) -> None:
    """Connect to a cluster, or start one of this machine's cores and GPUs; one that is already connected is used."""
    if ray.is_initialized():
        return
    settings: dict[str, Any] = {
        "namespace": NAMESPACE,
        "runtime_env": {"env_vars": {"GLIBC_TUNABLES": GLIBC_TUNABLES}},
        "log_to_driver": False,
        "logging_level": "ERROR",
    }
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # nobody but this process reaches a local instance
        settings |= {"include_dashboard": False, "object_store_memory": LOCAL_OBJECT_STORE_BYTES}
    if address is not None:
        _check_answers(address)
    try:
        ray.init(address=address or "local", **settings)
    except ConnectionError as error:
        raise _no_answer(address, error) from None


def _check_answers(address: str) -> None:
    """Connect once to HOST:PORT: Ray itself tries for many minutes before it gives up."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except OSError as error:
            raise _no_answer(address, error) from None


def _no_answer(address: str | None, error: Exception) -> UserError:
    return UserError(f"--address {address}: no Ray cluster answers there: {error}")


class StoreProxy:
    """The writer in its own process, seen from a trial: every call returns when the writer has the rows."""

    def __init__(self, actor: ray.actor.ActorHandle):
        self._actor = actor

    def put(self, tables: Tables) -> None:
        ray.get(self._actor.put.remote(tables))

    def written(self, table: str, where: Row) -> set[tuple]:
        return ray.get(self._actor.written.remote(table, where))

    def begin(self, key: StageKey, **where: Any) -> Row:
        return ray.get(self._actor.begin.remote(key, **where))

    def finish(self, key: StageKey, tables: Tables, **facts: Any) -> None:
        ray.get(self._actor.finish.remote(key, tables, **facts))

    def fail(self, key: StageKey, error: str, **facts: Any) -> None:
        ray.get(self._actor.fail.remote(key, error, **facts))

    def lost(self, key: StageKey, error: str) -> None:
        ray.get(self._actor.lost.remote(key, error))

    def close(self) -> None:
        """Return when everything is in the file, then end the process."""
        ray.get(self._actor.close.remote())
        ray.kill(self._actor)


def start_store(database: Path) -> tuple[StoreProxy, str]:
    """The single writer as an actor beside this process; returns a proxy and the name trials find it under."""
    name = f"store-{uuid.uuid4().hex[:12]}"
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(MeasuredStore).options(
        name=name,
        namespace=NAMESPACE,
        num_cpus=0,
        max_restarts=-1,
        max_task_retries=-1,
        max_concurrency=16,
        scheduling_strategy=here,
    )
    return StoreProxy(actor.remote(str(database.resolve()))), name


def trial_resources(
    spec: SweepSpec, is_cluster: bool, warn: Callable[[str], None]
) -> dict[str, PlacementGroupFactory]:
    """What a trial of each stage reserves; where there are CPUs but no GPU, CPUs alone.

    On a cluster the nodes that an autoscaler may add count too. Where these cannot be known, a trial that no node has
    room for is left to the autoscaler, with a warning.

    Raises:
        UserError: no node has room for a trial, nor will one.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = [{"CPU": each.cpu, "GPU": each.gpu} for _, each in spec.resources]
    types = node_types_to_come() if is_cluster and not all(fits(bundle, nodes) for bundle in asked) else {}
    possible = [*nodes, *(types or {}).values()]
    bundles = bundles_of(spec, possible)
    for share, bundle in homeless(bundles, possible).items():
        if types is None:
            warn(
                f"resources.{share}: a trial asks for {amounts(bundle)}, which no node of the cluster has "
                f"({largest(nodes)}), and what its autoscaler may add cannot be known: the sweep waits for such a node"
            )
        else:
            has = _cluster_has(nodes, types) if is_cluster else f"this machine has {largest(nodes)}"
            raise UserError(refusal(share, bundle, has))
    return {
        stage: PlacementGroupFactory([{kind: amount for kind, amount in bundle.items() if amount}])
        for stage, bundle in bundles.items()
    }


def _cluster_has(nodes: list[dict[str, float]], types: NodeTypes) -> str:
    to_come = ", ".join(f"{name} with {amounts(resources)}" for name, resources in types.items())
    adds = f"its autoscaler adds only {to_come}" if types else "no autoscaler adds others"
    return f"the cluster's nodes have at most {largest(nodes)}, and {adds}"


def pack(spec: SweepSpec, database: Path) -> SweepSpec:
    """The sweep with `auto` resolved, as far as units like its own were measured on a GPU (ibray/packing.py)."""
    if all(asked.gpu != "auto" for _, asked in spec.resources) or not ray.cluster_resources().get("GPU"):
        return spec
    measured = peaks(database)
    if not measured:
        return spec
    return packed(spec, measured, ray.get(ray.remote(_gpu_bytes).options(num_cpus=0, num_gpus=0.01).remote()))


def _gpu_bytes() -> int:
    import torch

    return torch.cuda.get_device_properties(0).total_memory


def run_on_ray(
    tasks: Iterable[Task],
    *,
    spec: SweepSpec,
    out: Path,
    artifacts: Path,
    data_dir: Path | None,
    store: StoreProxy,
    store_name: str,
    progress: Progress,
    retention: Retention,
    fail_fast: bool,
    is_cluster: bool,
) -> None:
    """Run tasks and whatever they make possible as trials of one Tune run; `artifacts` as `storage.artifacts_of`."""
    tasks = list(tasks)
    resources = trial_resources(spec, is_cluster, partial(progress.console.print, markup=False, soft_wrap=True))
    place = artifacts.resolve() if isinstance(artifacts, Path) else artifacts
    settings = {
        "out": str(place),
        "data_dir": data_dir and str(data_dir.resolve()),
        "store": store_name,
        "fail_fast": fail_fast,
    }

    def trial(config: dict[str, Any]) -> None:
        run_trial(config, settings)

    room = _room(spec, resources, is_cluster)
    frontier = Frontier(tasks, artifacts, most_together(spec))
    dispatcher = Dispatcher(frontier, room, store, progress, retention, threads_of(spec), fail_fast)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(len(tasks))  # `room` decides
    scratch = out.resolve() / "logs" / "tune"
    shutil.rmtree(scratch, ignore_errors=True)
    retries = 0 if fail_fast else spec.retries
    Tuner(
        tune.with_resources(trial, lambda config: resources[config["stage"]]),
        tune_config=TuneConfig(
            search_alg=dispatcher,
            num_samples=len(tasks),
            reuse_actors=True,
            trial_name_creator=lambda trial: f"{trial.config['stage']}_{trial.trial_id}",
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=RunConfig(
            storage_path=str(scratch),
            name="trials",
            failure_config=FailureConfig(max_failures=retries, fail_fast=fail_fast),
            callbacks=[Watcher(dispatcher)],
            verbose=0,
        ),
    ).fit()
    shutil.rmtree(scratch, ignore_errors=True)


def _room(spec: SweepSpec, resources: dict[str, PlacementGroupFactory], is_cluster: bool) -> Room:
    """As many wait as a quarter of those that run; on a cluster enough for its autoscaler to see there is more work."""
    at_once = ray.cluster_resources().get("CPU", 0) / min(asked.cpu for _, asked in spec.resources)
    needs = {STAGES[stage].share: each.required_resources for stage, each in resources.items()}
    return Room(ray.cluster_resources, needs, max(16 if is_cluster else 1, int(at_once / 4)))


def run_trial(config: dict[str, Any], settings: dict[str, Any]) -> None:
    """What runs in a worker: one task or several alike, their rows to the writer, their news to the scheduler."""
    tasks = [Task.from_dict(task) for task in json.loads(config["tasks"])]
    context = ray.get_runtime_context()

    def tell(position: int, news: News) -> None:
        tune.report({"position": position, **vars(news)})

    def ended(position: int, error: Exception | None) -> None:
        # Not under the key `done`, by which Tune ends the trial.
        reason = "" if error is None else f"{type(error).__name__}: {error}"
        tune.report({"position": position, "steps": 0, "ended": reason})

    execute_together(
        tasks,
        StoreProxy(ray.get_actor(settings["store"], namespace=NAMESPACE)),
        out=root_of(settings["out"]),
        data_dir=settings["data_dir"] and Path(settings["data_dir"]),
        threads=config["threads"],
        tell=tell,
        ended=ended,
        fail_fast=settings["fail_fast"],
        node=context.get_node_id(),
        gpus=context.get_assigned_resources().get("GPU", 0.0),
    )


class _DriverOnly:
    """Something that lives in the driver alone: Tune pickles it for a restore that we never do, and gets nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> _DriverOnly:
        return self


class Dispatcher(_DriverOnly, Searcher):
    """Hands the frontier's tasks to Tune, and Tune's results back to the frontier."""

    def __init__(
        self,
        frontier: Frontier,
        room: Room,
        store: StoreProxy,
        progress: Progress,
        retention: Retention,
        threads: dict[str, int],
        fail_fast: bool,
    ):
        super().__init__(metric="steps", mode="max")
        self.frontier, self.store, self.progress, self.threads = frontier, store, progress, threads
        self.room, self.retention, self.fail_fast = room, retention, fail_fast
        self.handouts: dict[str, Handout] = {}
        self.running: dict[str, str] = {}  # trial -> stage

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.frontier.is_empty:
            return Searcher.FINISHED
        kind = self.room.next((STAGES[stage].share for stage in self.running.values()), self.frontier.ready)
        tasks = self.frontier.take_together(trial_id, kind) if kind else []
        if not tasks:
            return None
        stage = self.running[trial_id] = tasks[0].stage
        self.handouts[trial_id] = Handout(trial_id, tasks, self.frontier, self.progress, self.retention)
        for task in tasks:
            logging.getLogger(__name__).info(
                "started: %s as trial %s: %s (%s)",
                stage, f"{stage}_{trial_id}", task.cell, task.cell.run_id,  # the trial as Tune calls it in the log
            )  # fmt: skip
        # The tasks as one string: Tune would otherwise look for search spaces in every nested key.
        config = json.dumps([task.to_dict() for task in tasks])
        return {"stage": stage, "threads": self.threads[stage], "tasks": config}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        handout, position = self.handouts[trial_id], result.get("position")
        if position is None:
            return
        reason = result.get("ended")
        if reason is None:
            handout.news(position, News(result["steps"], result.get("artifact")))
        elif reason:
            handout.failed(position, reason)
        else:
            handout.done(position)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.running.pop(trial_id)
        if not error:
            self.handouts[trial_id].all_done()

    def gave_up(self, trial_id: str, reason: str) -> None:
        """A trial failed for the last time; the tasks that waited for it fail with it."""
        self.handouts[trial_id].give_up(reason, self.store, self.fail_fast)

    # Tune insists on saving a searcher's state; ours is the database.
    def save(self, checkpoint_path: str) -> None: ...
    def restore(self, checkpoint_path: str) -> None: ...


class Watcher(_DriverOnly, Callback):
    """Passes on the failures that Tune does not tell a searcher the reason of."""

    def __init__(self, dispatcher: Dispatcher):
        self.dispatcher = dispatcher

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.dispatcher.gave_up(trial.trial_id, _last_failure(trial))


def _last_failure(trial: Trial) -> str:
    """Why a trial failed last, from Tune's error file: an exception's own line, or how the process was lost."""
    lines = Path(trial.error_file).read_text().rpartition("Failure # ")[2].strip().splitlines()[1:]
    raised = any(line.startswith("Traceback") or "ray::" in line for line in lines)
    return lines[-1 if raised else 0].strip() if lines else "the worker process died without a word"
