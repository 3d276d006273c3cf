"""Both quantities on every subset of one snapshot: what an MI trial computes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ibray.errors import UserError
from ibray.mi import method_of, settings_of
from ibray.mi.interface import EstimationError, MIEstimate
from ibray.seeds import derive_seed

QUANTITIES = ("I(X;T)", "I(T;Yhat)")


@dataclass(frozen=True)
class SnapshotEstimate:
    """One row of table `mi`: an estimate, or the reason why there is none."""

    subset: str
    quantity: str
    layer: str
    n: int
    """Images in the subset."""
    estimate: MIEstimate | None
    error: str | None
    seconds: float


def estimate_snapshot(
    x: Tensor,
    t: Tensor,
    yhat: Tensor,
    subset_indices: Mapping[str, Tensor],
    *,
    seed: int = 0,
    settings_by_quantity: Mapping[str, Mapping[str, Any]] | None = None,
    estimator: str = "infonce",
) -> list[SnapshotEstimate]:
    """I(X;T) and I(T;Yhat) in nats for every subset, in the order of `subset_indices`.

    x: (N, ...) images, flattened here; uint8 is scaled to [0, 1] subset by subset, as the network sees it.
    t: (N, M, Dt) and yhat: (N, M, K), M noise draws, draw m of yhat computed from draw m of t.
    settings_by_quantity: what differs from the estimator's preset of that quantity, by setting name.

    The seed of an estimate depends on `seed`, its subset and its quantity only, so adding a subset changes no
    other value. Samples that admit no estimate give an `error` and the rest goes on; wrong names of
    quantities or settings raise UserError before anything runs.
    """
    overrides = dict(settings_by_quantity or {})
    for name in overrides:
        if name not in QUANTITIES:
            raise UserError(f"unknown quantity '{name}': there are {', '.join(QUANTITIES)}")
    settings = {q: settings_of(estimator, q, **overrides.get(q, {})) for q in QUANTITIES}
    run = method_of(estimator).run

    results = []
    for subset, chosen in subset_indices.items():
        features = t[chosen.to(t.device)]
        for quantity in QUANTITIES:
            started = time.perf_counter()
            estimate, error = None, None
            try:
                if quantity == "I(X;T)":
                    pair = (_pixels(x[chosen.to(x.device)]).to(features.device), features)
                else:
                    pair = (features, yhat[chosen.to(yhat.device)])
                estimate = run(*pair, seed=derive_seed(seed, subset, quantity), **settings[quantity])
            except EstimationError as problem:
                error = str(problem)
            seconds = time.perf_counter() - started
            results.append(
                SnapshotEstimate(subset, quantity, "T", len(chosen), estimate, error, seconds)
            )
    return results


def _pixels(images: Tensor) -> Tensor:
    flat = images.flatten(1)
    return flat.float() / 255 if flat.dtype == torch.uint8 else flat
