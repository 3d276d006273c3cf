"""Whether the trials of a sweep find room: what each reserves, against the resources of nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ibray.spec import SweepSpec
from ibray.stages import STAGES, resources_of

Amounts = Mapping[str, float]  # CPU and GPU


def bundles_of(spec: SweepSpec, nodes: Sequence[Amounts]) -> dict[str, dict[str, float]]:
    """Stage -> what a trial of it reserves; where there are CPUs but no GPU, CPUs alone."""
    has_gpu = any(node.get("GPU", 0) for node in nodes)
    bundles = {}
    for stage in STAGES:
        asked = resources_of(spec, stage)
        bundles[stage] = {"CPU": asked.cpu, "GPU": asked.gpu}
        if not has_gpu and fits({"CPU": asked.cpu}, nodes):
            bundles[stage]["GPU"] = 0
    return bundles


def fits(bundle: Amounts, nodes: Sequence[Amounts]) -> bool:
    """Whether one of the nodes has room for it."""
    return any(all(node.get(kind, 0) >= amount for kind, amount in bundle.items()) for node in nodes)


def homeless(bundles: Mapping[str, Amounts], nodes: Sequence[Amounts]) -> dict[str, Amounts]:
    """Share of the sweep file's `resources` -> what its trials reserve, for those that no node has room for."""
    return {STAGES[stage].share: bundle for stage, bundle in bundles.items() if not fits(bundle, nodes)}


def refusal(share: str, bundle: Amounts, has: str) -> str:
    """What to tell about trials that find no room; `has` says what there is."""
    return f"resources.{share}: a trial asks for {amounts(bundle)}, but {has}; lower resources.{share}.cpu or .gpu"


def largest(nodes: Sequence[Amounts]) -> str:
    """The most of every kind that one node has."""
    return amounts({kind: max((node.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU")})


def amounts(bundle: Amounts) -> str:
    return " and ".join(f"{bundle.get(kind, 0):g} {kind}" for kind in ("CPU", "GPU"))
