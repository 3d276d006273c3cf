"""A cluster whose parts can be killed: several nodes on this machine, each with a raylet and workers of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
from ray._private.node import Node
from ray.cluster_utils import Cluster

OBJECT_STORE_BYTES = 100 * 2**20
# A dead node is noticed in 2 seconds, which takes Ray 15 without these: less waiting, the same steps.
HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1500,
    "health_check_failure_threshold": 3,
}


class Machines:
    """A head without CPUs and `workers` other nodes with one each; a context manager.

    The driver and the writer of a sweep are on the head and the trials on the others, so it survives whatever happens
    to these. Kills by SIGKILL, and nothing but processes that descend from its own nodes.
    """

    def __init__(self, workers: int):
        head = {"num_cpus": 0, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args={**head, "_system_config": HEALTH_CHECKS})
        for _ in range(workers):
            self.add_node()

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *exception: object) -> None:
        descendants = list(self._processes())
        self._cluster.shutdown()
        kill(descendants)

    @property
    def address(self) -> str:
        return self._cluster.address

    def add_node(self) -> None:
        """One more node, as an autoscaler would bring it."""
        self._cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)

    def trials(self) -> list[psutil.Process]:
        """The processes that train or estimate right now."""
        return [each for each in self._processes() if _title(each) == "ray::ImplicitFunc.train"]

    def writers(self) -> list[psutil.Process]:
        """The process that holds the store: one, or none for a moment."""
        return [each for each in self._processes() if _title(each).startswith("ray::MeasuredStore")]

    def nodes(self) -> list[Node]:
        """The nodes beside the head."""
        return list(self._cluster.worker_nodes)

    def kill_raylet(self, node: Node) -> None:
        """The raylet of a node dies; its workers are left to notice that."""
        self._lose(node, [_raylet(node)])

    def kill_node(self, node: Node) -> None:
        """A node dies with everything on it, as by loss of power."""
        self._lose(node, [_raylet(node), *_raylet(node).children(recursive=True)])

    def kill_everything(self) -> None:
        """All nodes die at once, the head and its memory of the cluster with them."""
        kill(list(self._processes()))

    def _lose(self, node: Node, victims: list[psutil.Process]) -> None:
        kill(victims)
        self._cluster.remove_node(node, allow_graceful=False)

    def _processes(self) -> Iterator[psutil.Process]:
        for node in self._cluster.list_all_nodes():
            for kind in node.all_processes.values():
                for each in kind:
                    yield from _family(each.process.pid)


def kill(processes: list[psutil.Process]) -> None:
    """SIGKILL to each that is still there."""
    for each in processes:
        try:
            each.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def _raylet(node: Node) -> psutil.Process:
    (raylet,) = node.all_processes["raylet"]
    return psutil.Process(raylet.process.pid)


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _title(process: psutil.Process) -> str:
    """What Ray calls a worker: the class of its actor, and the method that it is in."""
    try:
        return "".join(process.cmdline()[:1])
    except psutil.NoSuchProcess:
        return ""


os.environ.setdefault("RAY_AUTH_MODE", "disabled")
