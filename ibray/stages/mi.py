"""The MI stage: one unit per snapshot; noise is drawn once for all protocols, quantities and subsets of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ibray.cell import Cell, short_hash
from ibray.mi import method_of
from ibray.mi.classwise import SnapshotEstimate, estimate_subset, estimate_together
from ibray.mi.protocols import CERTIFIED, ChosenProtocol
from ibray.seeds import derive_seed
from ibray.snapshot_subsets import SnapshotSubsets
from ibray.snapshots import stored_data
from ibray.stages.base import Context, Need, News, Settings, Stage, Tables

if TYPE_CHECKING:
    from ibray.spec import SweepSpec

ESTIMATE_COLUMNS = (
    "nats", "ci_low", "ci_high", "lower_bound", "upper_bound", "ceiling", "raw", "standard_error", "negatives",
    "critic_epochs",
)  # fmt: skip


def _settings(spec: SweepSpec) -> Callable[[Cell], Settings]:
    settings = Settings(spec.mi.settings())
    return lambda cell: settings


def settings_hash(settings: dict[str, Any], protocol: dict[str, Any]) -> str:
    """What column `settings` of an estimate says: a hash of all that decides its value, and of nothing else.

    So a sweep that asks for more protocols, quantities or layers computes what is new and keeps the rest.
    """
    shared = {name: settings[name] for name in ("draws", "yhat", "clean_classes", "max_samples", "whole_samples")}
    return short_hash({**shared, **protocol})


def _run(context: Context) -> Tables:
    task, settings, epoch = context.task, context.task.settings, context.task.unit
    cell, data = stored_data(context.out, task.cell.run_id, context.data_dir)
    known = context.written("estimates", {"run_id": cell.run_id, "epoch": epoch})
    snapshot = SnapshotSubsets(context.out, cell, data, settings, epoch, context.device)
    layers = snapshot.layers()
    seed = derive_seed(cell.seed, "mi", epoch)
    for protocol in settings["protocols"]:
        chosen = ChosenProtocol(**protocol)
        key = {"run_id": cell.run_id, "epoch": epoch, "settings": settings_hash(settings, protocol)}
        asked = list(chosen.requests(settings["quantities"], layers))
        requests = {
            subset: [each for each in asked if (*key.values(), subset, *each) not in known]
            for subset in snapshot.indices
        }
        missing = {subset: left for subset, left in requests.items() if left}
        if _is_made_together(chosen, context):
            samples = {subset: snapshot.samples(subset) for subset in missing}
            context.put(_tables(key, estimate_together(chosen, samples, missing, seed=seed)))
            continue
        for subset, left in missing.items():
            context.put(_tables(key, estimate_subset(chosen, snapshot.samples(subset), subset, left, seed=seed)))
    context.tell(News(steps=1))
    return {}


def _is_made_together(chosen: ChosenProtocol, context: Context) -> bool:
    if chosen.protocol == CERTIFIED or context.device.type != "cuda":
        return False
    return method_of(chosen.estimator, chosen.protocol).run_many is not None


def _tables(key: dict[str, Any], results: list[SnapshotEstimate]) -> Tables:
    """Rows of one protocol on one subset."""
    return {
        "estimates": [{**key, **_estimate_columns(key, each)} for each in results],
        "mi_curves": [{**key, **columns} for each in results for columns in _curve_columns(each)],
        "noise_ladder": [{**key, **columns} for each in results for columns in _rungs(each)],
        "tau_half": [{**key, **_summary(each)} for each in results if each.ladder],
    }


def _estimate_columns(key: dict[str, Any], each: SnapshotEstimate) -> dict[str, Any]:
    about = {**_names(each), "n": each.n, "draws": each.draws, "seconds": each.seconds}
    if each.estimate is None:
        error = f"run {key['run_id']}, epoch {key['epoch']}, subset {each.subset}: {each.error}"
        logging.getLogger(__name__).warning("no %s (%s): %s", each.quantity, each.protocol, error)
        return {**about, "status": "failed", "error": error}
    return {**about, **{name: getattr(each.estimate, name) for name in ESTIMATE_COLUMNS}, "status": "done"}


def _curve_columns(each: SnapshotEstimate) -> Iterator[dict[str, Any]]:
    for epoch, nats in enumerate(each.estimate.curve if each.estimate else (), start=1):
        yield {**_names(each), "critic_epoch": epoch, "nats": nats}


def _rungs(each: SnapshotEstimate) -> Iterator[dict[str, Any]]:
    if each.ladder is None:
        return
    for tau, estimate in zip(each.ladder.taus, each.ladder.estimates, strict=True):
        columns = ("nats", "ci_low", "raw", "standard_error", "ceiling", "n")
        values = {name: getattr(estimate, name) for name in columns}
        yield {"subset": each.subset, "layer": each.layer, "tau": tau, **values}


def _summary(each: SnapshotEstimate) -> dict[str, Any]:
    ladder = each.ladder
    return {
        "subset": each.subset,
        "layer": each.layer,
        "tau_half": ladder.tau_half,
        "low": ladder.tau_half_low,
        "high": ladder.tau_half_high,
        "rms": ladder.rms,
        "n": each.n,
        "draws": each.draws,
    }


def _names(each: SnapshotEstimate) -> dict[str, str]:
    return {name: getattr(each, name) for name in ("subset", "quantity", "layer", "estimator", "protocol")}


STAGE = Stage(
    subject=lambda cell: cell,
    settings=_settings,
    units=lambda spec, cell: spec.snapshots(cell),
    needs=lambda task: [Need(task.cell.run_id, "train", task.unit)],
    has_artifact=None,
    steps=lambda cell: 1,
    step_name="snapshots",
    share="mi",
    run=_run,
)
