"""The database as claims ask for it: runs by dataset, attack, ratio and seed, with numbers that know their bounds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import duckdb
import numpy as np
import pandas as pd

from analysis.bounds import SATURATED_NATS, SATURATED_SHARE
from analysis.intervals import Effect, Measure, largest, mean, over_seeds, smallest
from analysis.settings import HIGH, VARIANT, family, ratio_level, training_epochs
from analysis.trajectories import LAYER, TY, XT

PERCEPTUAL = ("lpips", "psnr", "ssim")

RUNS = """
SELECT r.run_id, r.dataset, r.attack, r.poison_ratio, r.ratio_of, r.target_class, r.architecture, r.sigma, r.seed,
    r.per_class, r.cell::VARCHAR AS cell, g.configuration
FROM runs r JOIN run_configurations g USING (run_id) WHERE r.status = 'done'"""

ESTIMATES = f"""
SELECT run_id, estimator, protocol, settings, quantity, epoch, subset, role, nats, lower_bound, upper_bound, ceiling,
    coalesce(
        standard_error, CASE WHEN lower_bound IS NULL AND upper_bound IS NULL THEN (ci_high - ci_low) / 3.92 END
    ) AS standard_error
FROM trajectories
WHERE layer = '{LAYER}' AND quantity IN ('{XT}', '{TY}') AND run_status = 'done' AND isfinite(nats)
    AND role IN ('all', 'backdoor', 'clean', 'clean class')"""

SCORES = "SELECT run_id, estimator, protocol, settings, score, reason FROM stealth"
CLUSTERS = "SELECT run_id, epoch, metric, value FROM clusters WHERE value IS NOT NULL"
VISIBILITY = "SELECT run_id, metric, value FROM perceptual WHERE images = 'test' AND isfinite(value)"


class MissingDataError(Exception):
    """What a claim asks for is not in the database; the message says what."""


@dataclass
class Run:
    """One finished run as one estimator saw it."""

    run_id: str
    seed: int
    values: dict[tuple[str, int, str], Measure] = field(default_factory=dict)  # (quantity, epoch, subset)
    roles: dict[str, str] = field(default_factory=dict)  # subset -> role
    saturated: set[tuple[str, int, str]] = field(default_factory=set)
    used: set[tuple[str, int, str]] = field(default_factory=set)  # what was looked at since this was emptied
    score: Measure | None = None
    score_reason: str | None = None
    clusters: dict[tuple[int, str], float] = field(default_factory=dict)  # (epoch, metric)
    visibility: dict[str, float] = field(default_factory=dict)

    def epochs(self) -> list[int]:
        """Its snapshots, in order."""
        return sorted({epoch for _, epoch, _ in self.values})

    def last_epoch(self) -> int:
        """The last snapshot: convergence."""
        return self._some(self.epochs())[-1]

    def first_epoch(self) -> int:
        """The first snapshot: early learning."""
        return self._some(self.epochs())[0]

    def _some(self, epochs: list[int]) -> list[int]:
        if not epochs:
            raise MissingDataError(f"run {self.run_id} has no estimates of I(X;T) and I(T;Yhat)")
        return epochs

    def subsets(self, role: str) -> list[str]:
        """Names of the subsets that play this role, in order."""
        return sorted(subset for subset, its in self.roles.items() if its == role)

    def at(self, quantity: str, epoch: int, role: str) -> Measure:
        """The value of the one subset that is 'all', 'backdoor' or 'clean' of the target class."""
        subsets = self.subsets(role)
        if not subsets:
            raise MissingDataError(f"run {self.run_id} has no estimate of subset {role}")
        return self.of(quantity, epoch, subsets[0])

    def of(self, quantity: str, epoch: int, subset: str) -> Measure:
        """The value of a subset by name."""
        key = (quantity, epoch, subset)
        if key not in self.values:
            raise MissingDataError(f"run {self.run_id} has no {quantity} of {subset} at epoch {epoch}")
        self.used.add(key)
        return self.values[key]

    def classes(self, quantity: str, epoch: int) -> list[Measure]:
        """The values of the clean classes."""
        subsets = self.subsets("clean class")
        if not subsets:
            raise MissingDataError(f"run {self.run_id} has no estimate of a clean class")
        return [self.of(quantity, epoch, subset) for subset in subsets]

    def clean_mean(self, quantity: str, epoch: int) -> Measure:
        """Their mean."""
        return mean(self.classes(quantity, epoch))

    def strangeness(self, quantity: str, epoch: int) -> Measure:
        """The backdoor subset less the mean of the clean classes."""
        return self.at(quantity, epoch, "backdoor") - self.clean_mean(quantity, epoch)

    def within_classes(self, quantity: str, epoch: int, role: str) -> Measure:
        """By how much it is inside the clean classes' range; negative outside."""
        classes, value = self.classes(quantity, epoch), self.at(quantity, epoch, role)
        return smallest([value - smallest(classes), largest(classes) - value])

    def rise_and_fall(self, quantity: str, subset: str) -> Measure:
        """The lesser of rise (first snapshot to the highest one between first and last) and fall (from it to the last).

        Negative for a curve that falls or rises throughout.
        """
        epochs = self.epochs()
        if len(epochs) < 3:
            raise MissingDataError(f"run {self.run_id} has {len(epochs)} snapshots; rise and fall need 3")
        between = largest(self.of(quantity, epoch, subset) for epoch in epochs[1:-1])
        first, last = (self.of(quantity, epoch, subset) for epoch in (epochs[0], epochs[-1]))
        return smallest([between - first, between - last])

    def the_score(self) -> Measure:
        """Its stealth score."""
        if self.score is None:
            raise MissingDataError(f"run {self.run_id} has no stealth score ({self.score_reason or 'not computed'})")
        return self.score

    def cluster(self, metric: str, *, first: bool = False) -> Measure:
        """A number on T itself at the last, or first, mapped snapshot."""
        epochs = sorted(epoch for epoch, its in self.clusters if its == metric)
        if not epochs:
            raise MissingDataError(f"run {self.run_id} has no {metric} in `clusters`: run stage embed")
        return Measure.of(self.clusters[epochs[0 if first else -1], metric])


@dataclass(frozen=True)
class Want:
    """Which runs a predicate asks for; None takes what there is."""

    attack: str
    level: str = HIGH
    dataset: str = "cifar10"
    family: str = "resnet"
    sigma: float | None = None

    def __str__(self) -> str:
        sigma = "" if self.sigma is None else f" sigma {self.sigma:g}"
        return f"{self.dataset} {self.attack} at the {self.level} ratio ({self.family}{sigma})"


@dataclass(frozen=True)
class Condition:
    """One thing that must hold: `effect` above 0 says it does. `missing` says why there is none."""

    name: str
    effect: Effect | None
    missing: str | None = None


@dataclass
class Group:
    """Runs that may be compared under one estimate: one variant of the setting, every dataset, attack and ratio."""

    variant: dict
    estimate: tuple[str | None, str | None, str | None]
    cells: list[tuple[dict, list[Run]]]  # axes of a configuration and its runs
    looked_at: dict[str, list[Run]] = field(default_factory=dict)

    def runs(self, want: Want) -> dict[int, Run]:
        """Seed -> run of the configuration with most runs that fits; MissingDataError if none does."""
        fitting = [
            (axes, runs)
            for axes, runs in self.cells
            if all(axes[name] == getattr(want, name) for name in ("attack", "level", "dataset", "family"))
            and (want.sigma is None or abs(axes["sigma"] - want.sigma) < 1e-9)
        ]
        if not fitting:
            raise MissingDataError(f"no finished run of {want}")
        axes, runs = max(fitting, key=lambda each: (len(each[1]), each[0]["configuration"]))
        others = f", {len(fitting) - 1} other configurations left out" if len(fitting) > 1 else ""
        seeds = ", ".join(str(run.seed) for run in runs)
        self.looked_at[f"{want}: configuration {axes['configuration']}, seeds {seeds}{others}"] = runs
        return {run.seed: run for run in runs}

    def compare(
        self, name: str, wants: Want | Sequence[Want], function: Callable[..., Measure], unit: str = "nats"
    ) -> Condition:
        """A condition on runs of the same seed, one for each want; `function` of them must be above 0."""
        wants = [wants] if isinstance(wants, Want) else list(wants)
        try:
            found = [self.runs(want) for want in wants]
            seeds = sorted(set.intersection(*(set(each) for each in found)))
            if not seeds:
                raise MissingDataError("no seed that all of them have: " + "; ".join(map(str, wants)))
            return Condition(name, over_seeds([function(*(each[seed] for each in found)) for seed in seeds], unit))
        except MissingDataError as missing:
            return Condition(name, None, str(missing))

    def snapshots(self, want: Want) -> list[int]:
        """Epochs that all of these runs have estimates at, in order; none where there is no run."""
        try:
            found = self.runs(want).values()
        except MissingDataError:
            return []
        return sorted(set.intersection(*(set(run.epochs()) for run in found)))

    def saturated(self) -> float:
        """The share of the values looked at that lie at their estimator's ceiling; NaN where none was."""
        runs = {id(run): run for runs in self.looked_at.values() for run in runs}.values()
        used = sum(len(run.used) for run in runs)
        return sum(len(run.used & run.saturated) for run in runs) / used if used else math.nan

    def rows(self) -> str:
        """In words, the runs and estimates that were looked at."""
        if not self.looked_at:
            return "none"
        used = {key for runs in self.looked_at.values() for run in runs for key in run.used}
        words = list(self.looked_at)
        for quantity in sorted({quantity for quantity, _, _ in used}):
            epochs = sorted({epoch for of, epoch, _ in used if of == quantity})
            subsets = sorted({subset for of, _, subset in used if of == quantity})
            which = f"subsets {', '.join(subsets)}, epochs {', '.join(map(str, epochs))}"
            words.append(f"{quantity} of layer {LAYER}, {which}")
        return "; ".join(words)

    def forget(self) -> None:
        """Start to note anew what is looked at."""
        for _, runs in self.cells:
            for run in runs:
                run.used.clear()
        self.looked_at.clear()


class Evidence:
    """All finished runs of a database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        runs = connection.execute(RUNS).df()
        runs["level"] = ratio_level(runs)
        runs["family"] = runs["architecture"].map(family)
        self._axes = {row["run_id"]: row for row in runs.to_dict("records")}
        for axes in self._axes.values():
            axes["per_class"] = None if pd.isna(axes["per_class"]) else int(axes["per_class"])  # NaN equals nothing
            axes["epochs"] = training_epochs(axes["cell"])
        self._clusters = _by_run(connection, CLUSTERS)
        self._visibility = _by_run(connection, VISIBILITY)
        self._runs: dict[tuple, dict[str, Run]] = defaultdict(dict)
        self._enter(connection.execute(ESTIMATES).df())
        for row in connection.execute(SCORES).df().itertuples():
            run = self._runs.get((row.estimator, row.protocol, row.settings), {}).get(row.run_id)
            if run is not None and pd.isna(row.score):
                run.score_reason = row.reason
            elif run is not None:
                run.score = Measure.of(float(row.score))

    def estimates(self) -> list[tuple[str, str, str]]:
        """Every (estimator, protocol, settings) there is, in order."""
        return sorted(self._runs)

    def groups(self, estimate: tuple | None, crosses: Iterable[str]) -> Iterator[Group]:
        """The variants of the setting, those fields that a claim crosses left out; estimate None: whatever was seen."""
        fields = [name for name in VARIANT if name not in set(crosses)]
        runs = {run_id: self._new(run_id) for run_id in self._axes} if estimate is None else self._runs[estimate]
        variants: dict[tuple, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
        for run_id, run in sorted(runs.items(), key=lambda each: each[1].seed):
            axes = self._axes[run_id]
            variants[tuple(axes[name] for name in fields)][axes["configuration"]].append(run)
        for key, configurations in sorted(variants.items(), key=lambda each: str(each[0])):
            cells = [(self._axes[found[0].run_id], found) for found in configurations.values()]
            yield Group(dict(zip(fields, key, strict=True)), estimate or (None, None, None), cells)

    def _new(self, run_id: str) -> Run:
        clusters = {(int(row.epoch), row.metric): float(row.value) for row in self._clusters.get(run_id, ())}
        visibility = {row.metric: float(row.value) for row in self._visibility.get(run_id, ())}
        return Run(run_id, int(self._axes[run_id]["seed"]), clusters=clusters, visibility=visibility)

    def _enter(self, rows: pd.DataFrame) -> None:
        of_run = ["estimator", "protocol", "settings", "run_id"]
        number = rows.groupby(of_run, sort=False).ngroup().to_numpy()
        rows = rows.iloc[np.argsort(number, kind="stable")]
        nats, ceiling = rows["nats"].to_numpy(float), rows["ceiling"].to_numpy(float, na_value=np.nan)
        lower, upper = (rows[name].to_numpy(float, na_value=np.nan) for name in ("lower_bound", "upper_bound"))
        exact = np.isnan(lower) & np.isnan(upper)
        low = np.where(np.isnan(lower), np.where(exact, nats, -np.inf), lower)
        high = np.where(np.isnan(upper), np.where(exact, nats, np.inf), upper)
        variance = rows["standard_error"].to_numpy(float, na_value=np.nan) ** 2
        saturated = nats > np.fmin(ceiling - SATURATED_NATS, SATURATED_SHARE * ceiling)
        # Lists cut at the borders of runs: to visit each of a million rows by itself takes half a minute.
        keys = list(zip(*(rows[name].tolist() for name in ("quantity", "epoch", "subset")), strict=True))
        measures = list(map(Measure, nats.tolist(), low.tolist(), high.tolist(), variance.tolist()))
        subsets, roles = rows["subset"].to_numpy(object), rows["role"].to_numpy(object)
        borders = np.flatnonzero(np.diff(np.sort(number), prepend=-1)).tolist()
        owners = rows[of_run].iloc[borders].itertuples(index=False, name=None)
        for (*estimate, run_id), (first, end) in zip(owners, pairwise([*borders, len(rows)]), strict=True):
            run = self._runs[tuple(estimate)][run_id] = self._new(run_id)
            run.values = dict(zip(keys[first:end], measures[first:end], strict=True))
            run.roles = dict(zip(subsets[first:end], roles[first:end], strict=True))
            run.saturated = {keys[first + i] for i in np.flatnonzero(saturated[first:end])}


def _by_run(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, list]:
    found: dict[str, list] = defaultdict(list)
    for row in connection.execute(sql).df().itertuples():
        found[row.run_id].append(row)
    return found
