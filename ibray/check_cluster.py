"""A Ray cluster, against what the trials of a sweep ask for."""

from __future__ import annotations

from collections.abc import Iterator

import ray

from ibray.check import Check
from ibray.errors import UserError
from ibray.placement import amounts, largest
from ibray.ray_runner import start_ray, trial_resources
from ibray.spec import SweepSpec
from ibray.stages import STAGES


def check_cluster(spec: SweepSpec, address: str) -> Iterator[Check]:
    """Whether the cluster answers, what it has, and whether its nodes have room for every kind of trial."""
    try:
        start_ray(address)
    except UserError as error:
        yield Check("cluster", "failed", str(error), "start one (ray up cluster.yaml), or give its HOST:6379")
        return
    try:
        yield from _check_connected(spec)
    finally:
        ray.shutdown()


def _check_connected(spec: SweepSpec) -> Iterator[Check]:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    in_all = amounts(ray.cluster_resources())
    yield Check("cluster", "ok", f"{len(nodes)} nodes with {in_all} in all, {largest(nodes)} at most in one")
    warnings: list[str] = []
    try:
        resources = trial_resources(spec, True, warnings.append)
    except UserError as error:
        found, _, advice = str(error).partition("; ")
        yield Check("trials", "failed", found, advice)
        return
    for warning in warnings:
        yield Check("trials", "warning", warning)
    if not warnings:
        asked = {STAGES[stage].share: amounts(each.bundles[0]) for stage, each in resources.items()}
        found = ", ".join(f"resources.{share} asks for {bundle}" for share, bundle in asked.items())
        yield Check("trials", "ok", f"there is room: {found}")
