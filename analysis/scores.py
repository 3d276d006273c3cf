"""Eqs. 5 and 6 of the paper on arrays: many runs, or many resamples of one run, at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.phases import TIE_DECIMALS
from analysis.trajectories import AXES, CLEAN_CLASS, ESTIMATE, LAYER, TY, XT, mean_table, subset_roles
from analysis.uncertainty import Uncertainty, errors

SUBSETS = ("clean", "backdoor", "all")
EPOCH_RULES = ("phases", "first", "peak", "last", "first-peak-last")


@dataclass(frozen=True)
class Choices:
    """What the paper leaves open; explained at `analysis.stealth.stealth_scores`."""

    normalise: str = "run"
    epochs: str | Sequence[int] = "phases"
    subsets: Sequence[str] = SUBSETS
    clean_classes: Iterable[int] | None = None

    def __post_init__(self) -> None:
        if self.normalise not in ("run", "epoch"):
            raise ValueError(f"normalise is 'run' or 'epoch', not {self.normalise!r}")
        if isinstance(self.epochs, str) and self.epochs not in EPOCH_RULES:
            raise ValueError(f"epochs is one of {', '.join(EPOCH_RULES)} or a list of epochs, not {self.epochs!r}")
        if not len(self.epochs) or not self.subsets or not set(self.subsets) <= set(SUBSETS):
            raise ValueError(f"epochs must not be empty and subsets be among {', '.join(SUBSETS)}")
        if self.clean_classes is not None:
            object.__setattr__(self, "clean_classes", tuple(self.clean_classes))


@dataclass(frozen=True)
class Series:
    """One run under one estimate: arrays (2 quantities, epochs + 1, subsets + 1), the last ones NaN.

    The extra row and column are what a snapshot or subset that is not there is looked up in.
    """

    about: dict
    epochs: tuple[int, ...]
    subsets: tuple[str, ...]
    classes: tuple[int, ...]  # clean classes
    nats: np.ndarray
    below: np.ndarray  # standard errors, NaN where unknown
    above: np.ndarray


@dataclass(frozen=True)
class Selection:
    """The part of a Series that a score is made of; `reason` says why it cannot be."""

    used: tuple[str, ...]
    names: tuple[str, ...]  # subsets of the target class
    class_names: tuple[str, ...]
    snapshots: tuple[int, ...]
    rows: np.ndarray
    columns: np.ndarray
    reason: str | None

    def of(self, values: np.ndarray) -> np.ndarray:
        return values[..., self.rows[:, None], self.columns]


def series_of(
    mi: pd.DataFrame,
    *,
    estimator: str | None = None,
    protocol: str | None = None,
    uncertainty: Uncertainty = "interval",
) -> list[Series]:
    """Every run and estimate of `mi` that may have a score, sorted by `ESTIMATE`."""
    rows = mi[(mi["layer"] == LAYER) & mi["quantity"].isin([XT, TY])]
    rows = rows[rows["status"] == "done"] if "status" in rows else rows
    for column, wanted in (("estimator", estimator), ("protocol", protocol)):
        rows = rows if wanted is None else rows[rows[column] == wanted]
    # A bound that is known of one quantity only has no score.
    rows = rows[rows.groupby(ESTIMATE[1:])["quantity"].transform("nunique") == 2]
    below, above = errors(rows, uncertainty)
    rows = rows.assign(
        role=subset_roles(rows), nats=rows["nats"].where(np.isfinite(rows["nats"])), below=below, above=above
    )
    if rows.empty:
        return []
    # Arrays cut at the borders of sorted groups: a data frame for each of thousands of groups takes seconds.
    number = rows.groupby(ESTIMATE, sort=True).ngroup().to_numpy()
    order = np.argsort(number, kind="stable")
    borders = np.flatnonzero(np.diff(number[order], prepend=-1))
    of_run = [*ESTIMATE, *AXES, *(name for name in ("configuration", "run_status") if name in rows)]
    about = rows[of_run].iloc[order[borders]].to_dict("records")
    wanted = ["epoch", "subset", "quantity", "role", "nats", "below", "above"]
    columns = {name: rows[name].to_numpy()[order] for name in wanted}
    ends = zip(about, borders, [*borders[1:], len(rows)], strict=True)
    return [_series(its, columns, slice(first, end)) for its, first, end in ends]


def _series(about: dict, columns: dict[str, np.ndarray], part: slice) -> Series:
    """The run and estimate that stands in these rows."""
    group = {name: values[part] for name, values in columns.items()}
    epochs, row = np.unique(group["epoch"].astype(int), return_inverse=True)
    subsets, column = np.unique(group["subset"].astype(str), return_inverse=True)
    where = (np.where(group["quantity"] == XT, 0, 1), row, column)
    classes = tuple(sorted({int(s) for s in group["subset"][group["role"] == CLEAN_CLASS]}))
    shape = (2, len(epochs) + 1, len(subsets) + 1)
    arrays = (mean_table(group[name].astype(float), where, shape) for name in ("nats", "below", "above"))
    return Series(about, tuple(epochs.tolist()), tuple(subsets.tolist()), classes, *arrays)


def select(series: Series, choices: Choices) -> Selection:
    """Which snapshots and subsets the choices take, and what is missing of them."""
    target, attack = int(series.about["target_class"]), series.about["attack"]
    used = tuple(s for s in choices.subsets if attack != "none" or s == "all")
    classes = series.classes if choices.clean_classes is None else sorted(set(choices.clean_classes) - {target})
    names = tuple(str(target) if s == "all" else f"{target}_{s}" for s in used)
    class_names = tuple(str(c) for c in classes)
    snapshots = series.epochs
    if not isinstance(choices.epochs, str):
        # Normalised by epoch, the other snapshots do not enter at all.
        also = () if choices.normalise == "epoch" else snapshots
        snapshots = tuple(sorted({int(e) for e in choices.epochs} | set(also)))
    rows = np.array([series.epochs.index(e) if e in series.epochs else -1 for e in snapshots], dtype=int)
    columns = [series.subsets.index(s) if s in series.subsets else -1 for s in (*names, *class_names)]
    selection = Selection(used, names, class_names, snapshots, rows, np.array(columns, dtype=int), None)
    reason = None
    if series.about.get("run_status", "done") != "done":
        reason = f"run status: {series.about['run_status']}"
    elif not names:
        reason = f"attack {attack} has none of the subsets {', '.join(choices.subsets)}"
    elif not classes:
        reason = "no clean class"
    else:
        table = selection.of(series.nats)
        if missing := int(np.isnan(table).sum()):
            reason = f"{missing} of {table.size} estimates missing"
    return Selection(used, names, class_names, snapshots, selection.rows, selection.columns, reason)


def distances(nats: np.ndarray, selection: Selection, choices: Choices) -> tuple[np.ndarray, np.ndarray]:
    """S^m of both quantities (..., 2) and which snapshots it is the mean over (..., epochs).

    Args:
        nats: (..., 2, epochs, subsets) as `Selection.of` takes them: the target's subsets, then clean classes.
    """
    targets = len(selection.names)
    used = _chosen(nats[..., 0, :, targets:].mean(axis=-1), selection.snapshots, choices.epochs)
    axes = (-2, -1) if choices.normalise == "run" else (-1,)
    low, high = nats.min(axis=axes, keepdims=True), nats.max(axis=axes, keepdims=True)
    scaled = (nats - low) / np.where(high > low, high - low, 1.0)  # a constant becomes 0, not 0/0
    centre = scaled[..., targets:].mean(axis=-1, keepdims=True)
    apart = np.abs(scaled[..., :targets] - centre).mean(axis=-1)
    return (apart * used[..., None, :]).sum(axis=-1) / used.sum(axis=-1)[..., None], used


def _chosen(clean_xt: np.ndarray, snapshots: Sequence[int], epochs: str | Sequence[int]) -> np.ndarray:
    """Mask (..., epochs) of the epochs that count; the rule 'phases' is `analysis.phases.phase_epochs`."""
    position, last = np.arange(len(snapshots)), len(snapshots) - 1
    if not isinstance(epochs, str):
        return np.broadcast_to(np.isin(snapshots, list(epochs)), clean_xt.shape)
    peak = clean_xt.round(TIE_DECIMALS).argmax(axis=-1)[..., None]
    first, final = position == 0, position == last
    return {
        "phases": first | (position == peak) | (position == peak + (last - peak + 1) // 2) | final,
        "first": np.broadcast_to(first, clean_xt.shape),
        "peak": position == peak,
        "last": np.broadcast_to(final, clean_xt.shape),
        "first-peak-last": first | (position == peak) | final,
    }[epochs]
