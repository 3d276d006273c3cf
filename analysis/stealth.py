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
        Columns `COLUMNS`; the rows of attack 'none' are the baseline that attacks compare with. The options used are comma-separated text. Where estimates are missing the
        score is NaN and `reason` says why; elsewhere `reason` is None. Estimators and protocols that nowhere
        have both quantities are left out.

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
