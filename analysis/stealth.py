"""The stealth score of a run (paper, Eqs. 5 and 6): how far the target class strays from clean classes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from analysis.scores import SUBSETS, Choices, Series, distances, select, series_of
from analysis.trajectories import AXES, ESTIMATE
from analysis.uncertainty import Uncertainty, draws

Epochs = Literal["phases", "first", "peak", "last", "first-peak-last"] | Sequence[int]
OPTIONS = ["normalise", "epochs_used", "subsets_used", "clean_classes_used"]
COLUMNS = [*ESTIMATE, *AXES, "s_xt", "s_ty", "score", *OPTIONS, "reason"]
SCORES = ["s_xt", "s_ty", "score"]
INTERVALS = [f"{name}_{end}" for name in SCORES for end in ("low", "high")]
BOTH, SEEDS_ONLY, MI_ONLY, NEITHER = "seeds and MI", "seeds (no MI interval)", "MI only (one seed)", "none"


def stealth_scores(
    mi: pd.DataFrame,
    *,
    normalise: Literal["run", "epoch"] = "run",
    epochs: Epochs = "phases",
    subsets: Sequence[str] = SUBSETS,
    clean_classes: Iterable[int] | None = None,
    estimator: str | None = None,
    protocol: str | None = None,
) -> pd.DataFrame:
    """One row per run and estimate with `s_xt`, `s_ty` and their mean `score` in [0, 1]; lower is stealthier.

    D_s(e) = |m_s(e) - mean over clean classes c of m_c(e)| on min-max normalised MI, S = mean of D over the
    epochs e and subsets s, separately for I(X;T) and I(T;Yhat); score = (S_xt + S_ty) / 2.

    Args:
        mi: rows as `analysis.trajectories.mi_rows` gives them (columns of `mi` joined with the axes of
            `runs`). A column `run_status`, when there, keeps runs that are not done from being scored.
        normalise: the range is taken over all snapshots of the 'run' (the text's reading) or anew in each
            'epoch' (the authors' prototype); always over the used subsets and clean classes together. A
            range of zero normalises to 0.
        epochs: 'phases' picks one per phase (`analysis.phases.phase_epochs`); 'first', 'peak' and 'last' only
            the first snapshot, the one where the clean classes' I(X;T) peaks, or the last; 'first-peak-last'
            these three; or the epochs themselves, as a list.
        subsets: of the target class, out of clean, backdoor, all. Attack 'none' has only 'all'.
        clean_classes: None takes every clean class there is; a run's own target is never one.
        estimator, protocol: only these; None is all.

    Returns:
        Columns `COLUMNS`; the rows of attack 'none' are the baseline that attacks compare with. The options
        used are comma-separated text. Where estimates are missing the score is NaN and `reason` says why;
        elsewhere `reason` is None. Estimators and protocols that nowhere have both quantities are left out.

    By hand, with subsets=('clean',), epochs=[1, 5] and I(X;T) in nats:

        =====  =======  ===  ===
        epoch  0_clean   1    2
        =====  =======  ===  ===
        1        1.0    2.0  3.0
        5        5.0    3.0  4.0
        =====  =======  ===  ===

    run: the range is 1..5, so epoch 1 is 0, 0.25, 0.5 and D = 0.375; epoch 5 is 1, 0.5, 0.75 and D = 0.375.
    S_xt = 0.375. epoch: 1..3 gives 0, 0.5, 1 and D = 0.75; 3..5 gives 1, 0, 0.5 and D = 0.75. S_xt = 0.75.
    """
    choices = Choices(normalise, epochs, subsets, clean_classes)
    rows = [_score_one(series, choices) for series in series_of(mi, estimator=estimator, protocol=protocol)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _score_one(series: Series, choices: Choices) -> dict:
    chosen = select(series, choices)
    row = {column: series.about[column] for column in (*ESTIMATE, *AXES)} | {
        "s_xt": np.nan,
        "s_ty": np.nan,
        "score": np.nan,
        "normalise": choices.normalise,
        "epochs_used": None,
        "subsets_used": ",".join(chosen.used),
        "clean_classes_used": ",".join(chosen.class_names),
        "reason": chosen.reason,
    }
    if chosen.reason:
        return row
    (s_xt, s_ty), used = distances(chosen.of(series.nats), chosen, choices)
    epochs = ",".join(str(e) for e, u in zip(chosen.snapshots, used, strict=True) if u)
    return row | {"s_xt": s_xt, "s_ty": s_ty, "score": (s_xt + s_ty) / 2, "epochs_used": epochs}


def stealth_intervals(
    mi: pd.DataFrame,
    *,
    normalise: Literal["run", "epoch"] = "run",
    epochs: Epochs = "phases",
    subsets: Sequence[str] = SUBSETS,
    clean_classes: Iterable[int] | None = None,
    estimator: str | None = None,
    protocol: str | None = None,
    uncertainty: Uncertainty = "interval",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """One row per configuration and estimate: the mean score of its seeds with 95% intervals.

    Each resample draws as many runs as there are, with replacement, and for every one of them new MI estimates
    from their intervals (`analysis.uncertainty.draws`; independent of each other, although a class and its
    parts share images), out of which the score, its range and its epochs are made again. Deviations between
    runs are stretched by sqrt(k / (k - 1)) for k seeds, which resampling makes too small. The interval holds
    the middle 95% of the deviations from their own mean, put around the score and kept in [0, 1].

    A score is a mean of absolute values, so noise in MI raises it: what noise the estimates hold already stays in
    the score, and `bias` (the rise that as much noise again brings) tells its size. A score of a few times its
    bias may be nothing but noise: of a truth of 0 the interval holds nothing. Where the score was 10 times its
    bias or more, simulated intervals held the truth in 88 to 96 of 100 cases for one seed, and for several that
    differ no more than MI does; in 81 to 88 for 3 seeds and 88 to 91 for 5 that differ by more.

    Args:
        mi: as for `stealth_scores`, as are the options. With a column `configuration` that says which runs are
            repetitions of each other; else runs that differ in nothing but their seed (axes) are.
        uncertainty: what MI is drawn from: see `analysis.uncertainty.errors`.

    Returns:
        `configuration` where `mi` has it, the axes but the seed, estimator, protocol, settings; `s_xt`, `s_ty`,
        `score` (means over scored runs, in [0, 1]), each with `_low` and `_high`; `score_sd` over seeds (NaN for
        one); `seeds` scored; `bias`: mean of the resampled scores less the score; `uncertainty`: what the
        interval holds ('seeds and MI', 'MI only (one seed)', 'seeds (no MI interval)' or 'none', without an
        interval); `with_interval`: the share of the estimates that have one; the options used; `reason` where no
        run has a score, or the first reason of those runs left out.

    By hand: one seed, one epoch, subset clean at 3 nats +- 0.2 (standard error), classes 1 and 2 at 0 and 4
    exactly, both quantities alike. S = |3 / 4 - 1 / 2| = 0.25 +- 0.05, the score (their mean) is 0.25 +-
    0.05 / sqrt(2), and its interval 0.25 -+ 1.96 x 0.0354 = 0.181..0.319.
    """
    choices = Choices(normalise, epochs, subsets, clean_classes)
    all_series = series_of(mi, estimator=estimator, protocol=protocol, uncertainty=uncertainty)
    axes = [a for a in AXES if a != "seed"]
    keys = ["configuration"] if "configuration" in mi else axes
    groups: dict[tuple, list[Series]] = {}
    for series in all_series:
        groups.setdefault(tuple(series.about[k] for k in (*keys, *ESTIMATE[1:])), []).append(series)
    about = list(dict.fromkeys([*keys, *axes, *ESTIMATE[1:]]))
    rows = [
        {column: group[0].about[column] for column in about} | _interval_of(group, choices, resamples, seed, key)
        for key, group in sorted(groups.items())
    ]
    columns = [*SCORES, *INTERVALS, "score_sd", "seeds", "bias", "uncertainty", "with_interval", *OPTIONS, "reason"]
    return pd.DataFrame(rows, columns=[*about, *columns])


def _interval_of(group: list[Series], choices: Choices, resamples: int, seed: int, key: tuple) -> dict:
    points = [_score_one(series, choices) for series in group]
    scored = [(series, point) for series, point in zip(group, points, strict=True) if not point["reason"]]
    row = {name: points[0][name] for name in OPTIONS} | {"seeds": len(scored), "uncertainty": NEITHER}
    row["reason"] = next((point["reason"] for point in points if point["reason"]), None)
    if not scored:
        return row
    row["epochs_used"] = " | ".join(dict.fromkeys(point["epochs_used"] for _, point in scored))
    centres = np.array([[point[name] for name in SCORES] for _, point in scored])
    drawn, known = zip(*(_drawn_scores(series, choices, resamples, seed) for series, _ in scored), strict=True)
    moved, with_interval = np.stack(drawn), float(np.mean(known))
    row |= dict(zip(SCORES, centres.mean(axis=0), strict=True)) | {"with_interval": with_interval}
    k = len(scored)
    if k > 1:
        row |= {"score_sd": centres[:, 2].std(ddof=1), "uncertainty": BOTH if with_interval else SEEDS_ONLY}
    elif with_interval:
        row["uncertainty"] = MI_ONLY
    if row["uncertainty"] == NEITHER or not resamples:
        return row

    rng = _generator(seed, *key)
    pick = rng.integers(k, size=(resamples, k))
    which = rng.integers(resamples, size=(resamples, k)) if k > 1 else np.arange(resamples)[:, None]
    between = (centres[pick] - centres.mean(axis=0)).mean(axis=1) * np.sqrt(k / max(k - 1, 1))
    within = (moved[pick, which] - moved.mean(axis=1)[pick]).mean(axis=1)
    low, high = np.percentile(between + within, [2.5, 97.5], axis=0) + centres.mean(axis=0)
    ends = np.clip(np.stack([low, high], axis=1), 0, 1).ravel()
    row |= dict(zip(INTERVALS, ends, strict=True))
    return row | {"bias": moved[..., 2].mean() - row["score"]}


def _drawn_scores(series: Series, choices: Choices, resamples: int, seed: int) -> tuple[np.ndarray, float]:
    """Scores (resamples, 3) of a run whose MI is drawn anew, and the share of its estimates that can be."""
    chosen = select(series, choices)
    nats, below, above = (chosen.of(values) for values in (series.nats, series.below, series.above))
    known = float(np.isfinite(below).mean())
    normal = _generator(seed, *(series.about[k] for k in ESTIMATE)).standard_normal((resamples, *nats.shape))
    parts, _ = distances(draws(nats, below, above, normal), chosen, choices)
    return np.concatenate([parts, parts.mean(axis=-1, keepdims=True)], axis=-1), known


def _generator(seed: int, *key: object) -> np.random.Generator:
    """Draws that depend on the seed and on what they are for, not on which other runs are there."""
    return np.random.default_rng([seed, zlib.crc32("|".join(map(str, key)).encode())])
