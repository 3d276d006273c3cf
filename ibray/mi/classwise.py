"""One protocol on one subset of one snapshot: estimates of what was asked for, or the reasons why there are none."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ibray.mi import method_of
from ibray.mi.interface import EstimationError, Job, MIEstimate
from ibray.mi.known_noise import CertifiedSettings, certified
from ibray.mi.noise_ladder import NoiseLadder
from ibray.mi.protocols import CERTIFIED, ChosenProtocol
from ibray.mi.quantities import QUANTITIES
from ibray.mi.subset_samples import SubsetSamples
from ibray.seeds import derive_seed


@dataclass(frozen=True)
class SnapshotEstimate:
    """One row of table `estimates`: an estimate, or the reason why there is none."""

    subset: str
    quantity: str
    layer: str
    estimator: str
    protocol: str
    n: int
    """Images in the subset."""
    draws: int
    """Noise draws per image that were used."""
    estimate: MIEstimate | None
    error: str | None
    seconds: float
    ladder: NoiseLadder | None = None


def estimate_subset(
    chosen: ChosenProtocol, samples: SubsetSamples, subset: str, requests: Sequence[tuple[str, str]], *, seed: int
) -> list[SnapshotEstimate]:
    """Each (quantity, layer) of `requests` that says anything on this subset, in nats.

    The seed of an estimate depends on `seed`, its subset, quantity and layer only, so that no other request changes
    it. Samples that admit no estimate give an `error`, and the rest goes on.
    """
    results = []
    for quantity, layer in requests:
        if QUANTITIES[quantity].is_of(subset, samples):
            results += _estimate(chosen, samples, subset, quantity, layer, derive_seed(seed, subset, quantity, layer))
    return results


def estimate_together(
    chosen: ChosenProtocol,
    samples: Mapping[str, SubsetSamples],
    requests: Mapping[str, Sequence[tuple[str, str]]],
    *,
    seed: int,
) -> list[SnapshotEstimate]:
    """As `estimate_subset` for several subsets, by name, those of one (quantity, layer) made together: for a GPU.

    chosen: a protocol whose method has `run_many`.
    """
    method = method_of(chosen.estimator, chosen.protocol)
    places: dict[tuple[str, str], list[str]] = {}
    for subset, asked in requests.items():
        for quantity, layer in asked:
            if QUANTITIES[quantity].is_of(subset, samples[subset]):
                places.setdefault((quantity, layer), []).append(subset)
    results = []
    for (quantity, layer), names in places.items():
        jobs = [
            Job(*QUANTITIES[quantity].pair(samples[name], layer), derive_seed(seed, name, quantity, layer))
            for name in names
        ]
        started = time.perf_counter()
        found = method.run_many(jobs, **chosen.settings[quantity])
        seconds = (time.perf_counter() - started) / len(jobs)
        for name, outcome in zip(names, found, strict=True):
            failed = isinstance(outcome, EstimationError)
            results.append(
                SnapshotEstimate(
                    subset=name,
                    quantity=quantity,
                    layer=layer,
                    estimator=chosen.estimator,
                    protocol=chosen.protocol,
                    n=samples[name].n,
                    draws=samples[name].draws.logits.shape[1],
                    estimate=None if failed else outcome,
                    error=str(outcome) if failed else None,
                    seconds=seconds,
                )
            )
    return results


def _estimate(
    chosen: ChosenProtocol, samples: SubsetSamples, subset: str, quantity: str, layer: str, seed: int
) -> list[SnapshotEstimate]:
    started = time.perf_counter()
    draws, ladder, estimates, error = samples.draws.logits.shape[1], None, (), None
    settings = chosen.settings[quantity]
    try:
        if chosen.protocol == CERTIFIED:
            found = certified(samples, quantity, layer, CertifiedSettings(**settings), seed)
            estimates, draws, ladder = found.estimates, found.draws, found.ladder
        else:
            method = method_of(chosen.estimator, chosen.protocol)
            estimates = (method.run(*QUANTITIES[quantity].pair(samples, layer), seed=seed, **settings),)
    except EstimationError as problem:
        error = str(problem)
    seconds = time.perf_counter() - started
    about = {"subset": subset, "quantity": quantity, "layer": layer, "n": samples.n, "draws": draws}
    if error is not None:
        names = {"estimator": chosen.estimator, "protocol": chosen.protocol}
        return [SnapshotEstimate(**about, **names, estimate=None, error=error, seconds=seconds)]
    return [
        SnapshotEstimate(
            **about,
            estimator=estimate.estimator,
            protocol=estimate.protocol,
            estimate=estimate,
            error=None,
            seconds=seconds / len(estimates),
            ladder=ladder if estimate is estimates[0] else None,
        )
        for estimate in estimates
    ]
