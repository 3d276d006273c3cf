"""The paper's four training phases: found in a trajectory, or one representative epoch each for the score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import chi2

from analysis.segments import cut
from analysis.trajectories import AXES, ESTIMATE, LAYER, XT, mean_table, subset_roles
from analysis.uncertainty import Uncertainty, draws, errors

TIE_DECIMALS = 12  # peaks closer than 1e-12 nats are a tie, whatever order their terms were added in
PHASES = ("early learning", "transition", "compression", "convergence")
FALSE_CHANGES = 0.05  # how often pure noise may show a change point
LEAST_ERROR = 1e-3  # nats; an interval narrower than this still leaves rounding and the network's own noise
DRAWS_AT_ONCE = 2_000_000  # numbers per batch of resampled trajectories
COLUMNS = [
    "phase", "found", "first_epoch", "last_epoch", "change", "change_error", "confidence", "same_epochs",
    "noise_floor", "snapshots", "seeds", "reason",
]  # fmt: skip


def phase_epochs(clean_xt: pd.Series) -> dict[str, int]:
    """The snapshot that stands for each phase in the stealth score; two phases may share one.

    The rule: early learning is the first snapshot, transition the one where I(X;T) of the clean classes
    peaks (the first on ties), convergence the last, and compression lies half-way, by position and rounded
    up, between transition and convergence. It always names four epochs; whether there was such a phase at
    all is what `find_phases` says.

    Args:
        clean_xt: mean I(X;T) over the clean classes in nats, indexed by epoch, no missing values.

    >>> phase_epochs(pd.Series([1.0, 3.0, 2.0, 1.5], index=[1, 5, 10, 20]))
    {'early learning': 1, 'transition': 5, 'compression': 10, 'convergence': 20}
    """
    curve = clean_xt.sort_index().round(TIE_DECIMALS)
    epochs = [int(epoch) for epoch in curve.index]
    last = len(epochs) - 1
    peak = int(curve.to_numpy().argmax())
    half_way = peak + (last - peak + 1) // 2
    return {
        "early learning": epochs[0],
        "transition": epochs[peak],
        "compression": epochs[half_way],
        "convergence": epochs[last],
    }


def find_phases(
    trajectory: pd.DataFrame,
    *,
    resamples: int = 1000,
    seed: int = 0,
    need_rise: bool = True,
    uncertainty: Uncertainty = "interval",
    error: float | None = None,
) -> pd.DataFrame:
    """The phases of one trajectory: four rows, of which those with `found` exist.

    The rule. The snapshots are cut into plateaus (piecewise constant, weighted least squares, optimal), each
    change point of n snapshots having to lower chi-squared by more than the 1 - 0.05 / (n - 1) quantile of one
    degree of freedom, so that noise alone shows a change in 5% of trajectories of 2 snapshots, 4% of 9. Then

    - early learning runs from the first snapshot to the start of the highest plateau, if that is not the first;
    - transition is the highest plateau, if a lower one follows;
    - compression runs from the end of the highest plateau to the start of the lowest one after it;
    - convergence is the last plateau, if it holds two snapshots or more.

    Phases that follow each other share the snapshot on their border. A flat or ever-rising trajectory has no
    compression. Nor has an ever-falling one, for want of the peak that compression comes after, unless
    `need_rise` is False.

    Args:
        trajectory: `epoch` and `nats`, with `ci_low` and `ci_high` (95%) or `standard_error`; with several
            seeds a column `seed`. Estimates that are not finite are left out. Of several seeds the mean
            counts, over the epochs that all of them have; its error is the larger of the estimates' own and
            of the spread of seeds about each other's course (their constant offset is no change).
        resamples: of the parametric bootstrap: each snapshot is drawn anew from its uncertainty and the rule
            applied again. The draws add to the noise that is in the estimates already, so confidence errs low.
        need_rise: whether transition and compression need a rise before them.
        uncertainty: see `analysis.uncertainty.errors`.
        error: standard error in nats of estimates that come without any; None finds no phase in them.

    Returns:
        Columns `COLUMNS`: `first_epoch`, `last_epoch` (missing where not found); `change` in nats between these
        two and its standard error `change_error`; `confidence` in [0, 1], the share of resamples that agree on
        whether the phase exists; `same_epochs`, the share with the phase and both its epochs; `noise_floor`,
        the smallest step in nats between two lone snapshots that counts as a change; `snapshots`, `seeds` used;
        `reason` why a phase was not found, or a remark on one that was, else missing.

    By hand: 1, 3, 3, 1, 1 nats at epochs 1, 5, 10, 20, 40, each +- 0.1 (standard error). n = 5 asks for 6.24, so
    two lone snapshots must differ by sqrt(6.24 x 2) x 0.1 = 0.35 nats. The plateaus are 1, 3 and 1 nats: early
    learning 1-5 (+2), transition 5-10 (0), compression 10-20 (-2), convergence 20-40 (0).
    """
    series = _series_of(trajectory, [np.arange(len(trajectory))], uncertainty, error)
    return _table(series, resamples, seed, need_rise)


def phases_of(
    mi: pd.DataFrame,
    *,
    by: Literal["run", "configuration"] = "run",
    quantity: str = XT,
    layer: str = LAYER,
    estimator: str | None = None,
    protocol: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    need_rise: bool = True,
    uncertainty: Uncertainty = "interval",
    error: float | None = None,
) -> pd.DataFrame:
    """`find_phases` of every subset of every run, or configuration over its seeds, under every estimate.

    Args:
        mi: rows as `analysis.trajectories.mi_rows` gives them. By configuration only runs that are done count
            (`run_status`, when there), because only epochs that all seeds have are used.
        estimator, protocol: only these; None is all.
        resamples, seed, need_rise, uncertainty, error: as in `find_phases`.

    Returns:
        Four rows per trajectory: the run's axes (`run_id` and `seed` only by run), `configuration` where `mi` has
        it, estimator, protocol, settings, quantity, layer, subset, role, then the columns of `find_phases`.
    """
    if by not in ("run", "configuration"):
        raise ValueError(f"by is 'run' or 'configuration', not {by!r}")
    rows = mi[(mi["quantity"] == quantity) & (mi["layer"] == layer)]
    for column, wanted in (("estimator", estimator), ("protocol", protocol)):
        rows = rows if wanted is None else rows[rows[column] == wanted]
    rows = rows[rows["status"] == "done"] if "status" in rows else rows
    if by == "configuration" and "run_status" in rows:
        rows = rows[rows["run_status"] == "done"]
    rows = rows.assign(role=subset_roles(rows))
    axes = [a for a in ("configuration", *AXES) if a in rows and (by == "run" or a != "seed")]
    one_of = ["run_id"] if by == "run" else ["configuration"] if "configuration" in rows else axes
    keys = [*one_of, *ESTIMATE[1:], "subset"]
    about = list(dict.fromkeys([*one_of, *axes, *ESTIMATE[1:], "quantity", "layer", "subset", "role"]))
    if rows.empty:
        return pd.DataFrame(columns=[*about, *COLUMNS])
    rows = rows.sort_values(keys, kind="stable").reset_index(drop=True)
    starts = np.flatnonzero(~rows.duplicated(keys))
    groups = np.split(np.arange(len(rows)), starts[1:])
    table = _table(_series_of(rows, groups, uncertainty, error), resamples, seed, need_rise)
    heads = rows.loc[np.repeat(starts, len(PHASES)), about].reset_index(drop=True)
    return pd.concat([heads, table], axis=1)


@dataclass(frozen=True)
class _Series:
    """A trajectory ready to be cut; `reason` says why there is nothing to cut."""

    epochs: np.ndarray
    nats: np.ndarray
    below: np.ndarray  # standard errors
    above: np.ndarray
    seeds: int
    reason: str | None


def _series_of(
    rows: pd.DataFrame, groups: Sequence[np.ndarray], uncertainty: Uncertainty, error: float | None
) -> list[_Series]:
    """The trajectories that the rows at these positions make."""
    nats = rows["nats"].to_numpy(dtype=float, na_value=np.nan)
    seed = pd.factorize(rows["seed"])[0] if "seed" in rows else np.zeros(len(rows), dtype=int)
    columns = (rows["epoch"].to_numpy(), seed, nats, *errors(rows, uncertainty))
    known = np.isfinite(nats)
    return [_series(*(c[group[known[group]]] for c in columns), error) for group in groups]


def _series(
    epoch: np.ndarray, seed: np.ndarray, nats: np.ndarray, below: np.ndarray, above: np.ndarray, error: float | None
) -> _Series:
    epochs, row = np.unique(epoch.astype(int), return_inverse=True)
    seeds, column = np.unique(seed, return_inverse=True)
    shape = (len(epochs), len(seeds))
    curves, below, above = (mean_table(values, (row, column), shape) for values in (nats, below, above))
    shared = np.isfinite(curves).all(axis=1) & (len(seeds) > 0)
    epochs, curves, below, above = (values[shared] for values in (epochs, curves, below, above))
    reason = None
    if len(epochs) < 2:
        reason = "fewer than two snapshots" + (" that all seeds have" if len(seeds) > 1 else "")
        return _Series(epochs, epochs, epochs, epochs, len(seeds), reason)
    sides = [_error_of_mean(own, curves, error) for own in (below, above)]
    if np.isnan(sides[0]).any():
        reason = "no uncertainty: neither an interval nor several seeds"
    return _Series(epochs, curves.mean(axis=1), *sides, len(seeds), reason)


def _error_of_mean(own: np.ndarray, curves: np.ndarray, assumed: float | None) -> np.ndarray:
    """Standard errors (epochs) of the mean over seeds; own, curves (epochs x seeds), own NaN where unknown."""
    epochs, seeds = curves.shape
    if np.isnan(own).all():
        own = np.full_like(curves, np.nan if assumed is None else assumed)
    else:
        own = np.where(np.isnan(own), np.nanmax(own), own)
    result = np.sqrt((own**2).sum(axis=1)) / seeds
    if seeds > 1 and epochs > 1:
        course = curves - curves.mean(axis=0) - curves.mean(axis=1, keepdims=True) + curves.mean()
        spread = np.sqrt((course**2).sum() / ((epochs - 1) * (seeds - 1)) / seeds)
        result = np.fmax(result, spread)
    return np.maximum(result, LEAST_ERROR)


def _table(series: Sequence[_Series], resamples: int, seed: int, need_rise: bool) -> pd.DataFrame:
    """Four rows per trajectory. Those of one length are cut together, and all of them meet the same draws."""
    rows: list[list[tuple]] = [_nothing(s) if s.reason else [] for s in series]
    lengths = sorted({len(s.epochs) for s in series if not s.reason})
    for n in lengths:
        here = [i for i, s in enumerate(series) if not s.reason and len(s.epochs) == n]
        normal = np.random.default_rng(seed).standard_normal((resamples, n))
        at_once = max(1, DRAWS_AT_ONCE // (n * max(1, resamples)))
        for start in range(0, len(here), at_once):
            part = here[start : start + at_once]
            found = _locate_resampled([series[i] for i in part], normal, need_rise)
            for i, spans in zip(part, found, strict=True):
                rows[i] = _rows(series[i], spans)
    table = pd.DataFrame([row for four in rows for row in four], columns=COLUMNS)
    return table.astype({"first_epoch": "Int64", "last_epoch": "Int64"})


def _locate_resampled(series: list[_Series], normal: np.ndarray, need_rise: bool) -> np.ndarray:
    """Spans (trajectories, 1 + resamples, 4 phases, first and last): of the estimates, then of every draw."""
    nats, below, above = (np.stack([getattr(s, name) for s in series])[:, None] for name in ("nats", "below", "above"))
    drawn = np.concatenate([nats, draws(nats, below, above, normal)], axis=1)
    error = np.broadcast_to((below + above) / 2, drawn.shape)
    n = nats.shape[-1]
    spans = _locate(drawn.reshape(-1, n), error.reshape(-1, n), need_rise)
    return spans.reshape(*drawn.shape[:2], len(PHASES), 2)


def _penalty(n: int) -> float:
    """What a change point among n snapshots has to lower chi-squared by."""
    return float(chi2.ppf(1 - FALSE_CHANGES / (n - 1), 1))


def _locate(nats: np.ndarray, error: np.ndarray, need_rise: bool) -> np.ndarray:
    """Positions (trajectories, 4 phases, first and last) by the rule of `find_phases`; -1 where there is none."""
    count, n = nats.shape
    start, end, level = cut(nats, error, _penalty(n))
    rows, position = np.arange(count), np.arange(n)
    top = level.argmax(axis=1)
    top_start, top_end = start[rows, top], end[rows, top]
    after = np.where(position > top_end[:, None], level, np.inf)
    lowest = start[rows, after.argmin(axis=1)]
    last_start = start[:, -1]
    falls = (top_end < n - 1) & ((top_start > 0) | (not need_rise))
    spans = [
        (top_start > 0, np.zeros(count, int), top_start),
        (falls, top_start, top_end),
        (falls, top_end, lowest),
        (last_start < n - 1, last_start, np.full(count, n - 1)),
    ]
    return np.stack([np.where(exists[:, None], np.stack([a, b], 1), -1) for exists, a, b in spans], axis=1)


def _rows(series: _Series, spans: np.ndarray) -> list[tuple]:
    ours, drawn = spans[0], spans[1:]
    error = (series.below + series.above) / 2
    floor = np.sqrt(2 * _penalty(len(error)) * (error**2).mean())
    exists = drawn[..., 0] >= 0
    rows = []
    for k, (phase, (first, last)) in enumerate(zip(PHASES, ours, strict=True)):
        found = first >= 0
        agree = (exists[:, k] == found).mean() if len(drawn) else np.nan
        same = (drawn[:, k] == ours[k]).all(axis=1).mean() if found and len(drawn) else np.nan
        change = series.nats[last] - series.nats[first] if found else np.nan
        change_error = np.hypot(error[first], error[last]) * (first != last) if found else np.nan
        span = (int(series.epochs[first]), int(series.epochs[last])) if found else (None, None)
        reason = _reason(phase, ours, len(error))
        about = (float(floor), len(error), series.seeds, reason)
        rows.append((phase, bool(found), *span, change, change_error, agree, same, *about))
    return rows


def _reason(phase: str, spans: np.ndarray, n: int) -> str | None:
    """Why there is no such phase; a remark on a compression that does not last."""
    early, _, compression, convergence = spans
    if phase == "convergence":
        return "still changing at the last snapshot" if convergence[0] < 0 else None
    if convergence[0] == 0:
        return "no change beyond the noise"
    if phase == "early learning":
        return "highest from the first snapshot on" if early[0] < 0 else None
    if compression[0] >= 0:
        # The lowest plateau after the peak is the last one, or something rises again.
        last_start = convergence[0] if convergence[0] >= 0 else n - 1
        return "rises again afterwards" if phase == "compression" and compression[1] < last_start else None
    return "falls from the first snapshot on, no rise before" if early[0] < 0 else "no fall after the highest plateau"


def _nothing(series: _Series) -> list[tuple]:
    missing = (False, None, None, np.nan, np.nan, np.nan, np.nan, np.nan, len(series.epochs), series.seeds)
    return [(phase, *missing, series.reason) for phase in PHASES]
