"""Which nodes the autoscaler of a Ray cluster may add, so that a trial that fits none of them is not waited for.

Ray (2.60) tells no driver. But its head starts the autoscaler's process everywhere, with the file it scales by as an
argument where there is one, and `ray up` writes the resources of every type into that file: both are read on the head.
Where the autoscaler runs elsewhere, as in a container of its own under KubeRay, nothing is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

HEAD = "node:__internal_head__"
HEAD_SECONDS = 60.0
DEFAULT_MAX_WORKERS = 2  # Ray's, of a file without max_workers
CONFIG = "--autoscaling-config="

NodeTypes = Mapping[str, Mapping[str, float]]  # name -> resources of one node


def node_types_to_come() -> NodeTypes | None:
    """The types of nodes that may be added to the connected cluster; None where that cannot be known."""
    heads = [node["NodeID"] for node in ray.nodes() if node["Alive"] and HEAD in node["Resources"]]
    if not heads:
        return None
    there = NodeAffinitySchedulingStrategy(heads[0], soft=False)
    asked = ray.remote(read_on_head).options(num_cpus=0, scheduling_strategy=there).remote()
    try:
        return ray.get(asked, timeout=HEAD_SECONDS)
    except ray.exceptions.RayError:  # a head without ibray, or one that does not answer
        return None


def read_on_head() -> NodeTypes | None:
    """What the autoscaler's process beside this one scales by; nothing to add without a file of its own."""
    port = ray.get_runtime_context().gcs_address.rpartition(":")[2]
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        is_autoscaler = any("autoscaler" in word and word.endswith("monitor.py") for word in words)
        if is_autoscaler and any(word.startswith("--gcs-address=") and word.endswith(f":{port}") for word in words):
            files = [word.removeprefix(CONFIG) for word in words if word.startswith(CONFIG)]
            return read_node_types(Path(files[0]).expanduser()) if files else {}
    return None


def read_node_types(file: Path) -> NodeTypes | None:
    """The types of a cluster file of which there may be nodes; None where the resources of one are left open."""
    try:
        config: dict[str, Any] = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError):
        return None
    at_most = config.get("max_workers", DEFAULT_MAX_WORKERS)
    types = {
        name: kind.get("resources") or {}
        for name, kind in config.get("available_node_types", {}).items()
        if min(kind.get("max_workers", at_most), at_most) > 0 and name != config.get("head_node_type")
    }
    return types if types and all("CPU" in resources for resources in types.values()) else None
