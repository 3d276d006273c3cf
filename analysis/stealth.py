"""The stealth score of a run (paper, Eqs. 5 and 6): how far the target class strays from clean classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from analysis.phases import phase_epochs
from analysis.trajectories import AXES, CLEAN_CLASS, ESTIMATE, LAYER, TY, XT, subset_roles

SUBSETS = ("clean", "backdoor", "all")
OPTIONS = ["normalise", "epochs_used", "subsets_used", "clean_classes_used"]
COLUMNS = [*ESTIMATE, *AXES, "s_xt", "s_ty", "score", *OPTIONS, "reason"]


def stealth_scores(
    mi: pd.DataFrame,
    *,
    normalise: Literal["run", "epoch"] = "run",
    epochs: Literal["phases"] | Sequence[int] = "phases",
    subsets: Sequence[str] = SUBSETS,
    clean_classes: Iterable[int] | None = None,
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
        epochs: 'phases' picks one per phase (`analysis.phases`); or the epochs themselves.
        subsets: of the target class, out of clean, backdoor, all. Attack 'none' has only 'all'.
        clean_classes: None takes every clean class there is; a run's own target is never one.

    Returns:
        Columns `COLUMNS`. The options used are comma-separated text. Where estimates are missing the
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
    _check_options(normalise, epochs, subsets)
    wanted = mi[(mi["layer"] == LAYER) & mi["quantity"].isin([XT, TY])]
    if "status" in wanted:
        wanted = wanted[wanted["status"] == "done"]
    # A bound that is known of one quantity only has no score.
    quantities = wanted.groupby(ESTIMATE[1:])["quantity"].transform("nunique")
    wanted = wanted[quantities == 2]
    wanted = wanted.assign(role=subset_roles(wanted), nats=wanted["nats"].where(np.isfinite(wanted["nats"])))
    scores = [
        _score_one(group, normalise, epochs, subsets, clean_classes)
        for _, group in wanted.groupby(ESTIMATE, sort=True)
    ]
    return pd.DataFrame(scores, columns=COLUMNS)


def _check_options(normalise: str, epochs: str | Sequence[int], subsets: Sequence[str]) -> None:
    if normalise not in ("run", "epoch"):
        raise ValueError(f"normalise is 'run' or 'epoch', not {normalise!r}")
    if isinstance(epochs, str) and epochs != "phases":
        raise ValueError(f"epochs is 'phases' or a list of epochs, not {epochs!r}")
    if not len(epochs) or not subsets or not set(subsets) <= set(SUBSETS):
        raise ValueError(f"epochs must not be empty and subsets be among {', '.join(SUBSETS)}")


def _score_one(
    group: pd.DataFrame,
    normalise: str,
    epochs: str | Sequence[int],
    subsets: Sequence[str],
    clean_classes: Iterable[int] | None,
) -> dict:
    first = group.iloc[0]
    target, attack = int(first["target_class"]), first["attack"]
    used = [s for s in subsets if attack != "none" or s == "all"]
    if clean_classes is None:
        classes = sorted({int(s) for s in group.loc[group["role"] == CLEAN_CLASS, "subset"]})
    else:
        classes = sorted(set(clean_classes) - {target})
    names = [str(target) if s == "all" else f"{target}_{s}" for s in used]
    class_names = [str(c) for c in classes]
    row = {column: first[column] for column in [*ESTIMATE, *AXES]} | {
        "s_xt": np.nan,
        "s_ty": np.nan,
        "score": np.nan,
        "normalise": normalise,
        "epochs_used": None,
        "subsets_used": ",".join(used),
        "clean_classes_used": ",".join(class_names),
    }
    if first.get("run_status", "done") != "done":
        return row | {"reason": f"run status: {first['run_status']}"}
    if not names:
        return row | {"reason": f"attack {attack} has none of the subsets {', '.join(subsets)}"}
    if not classes:
        return row | {"reason": "no clean class"}

    by_epoch = group.groupby(["quantity", "epoch", "subset"])["nats"].mean().unstack("subset")
    snapshots = sorted(set(group["epoch"]))
    if normalise == "epoch" and not isinstance(epochs, str):
        snapshots = sorted(set(epochs))  # the other snapshots do not enter at all
    elif not isinstance(epochs, str):
        snapshots = sorted({*snapshots, *epochs})
    needed = pd.MultiIndex.from_product([[XT, TY], snapshots])
    table = by_epoch.reindex(index=needed, columns=[*names, *class_names])
    missing = int(table.isna().to_numpy().sum())
    if missing:
        return row | {"reason": f"{missing} of {table.size} estimates missing"}

    if isinstance(epochs, str):
        chosen = sorted(set(phase_epochs(table.loc[XT][class_names].mean(axis=1)).values()))
    else:
        chosen = sorted(set(epochs))
    s_xt, s_ty = (
        _mean_distance(_min_max(table.loc[quantity], normalise).loc[chosen], names, class_names)
        for quantity in (XT, TY)
    )
    row |= {"s_xt": s_xt, "s_ty": s_ty, "score": (s_xt + s_ty) / 2}
    return row | {"epochs_used": ",".join(str(e) for e in chosen), "reason": None}


def _min_max(table: pd.DataFrame, normalise: str) -> pd.DataFrame:
    """Nats (epochs x subsets) scaled to [0, 1] over the whole table or row by row."""
    values = table.to_numpy()
    axis = None if normalise == "run" else 1
    low, high = values.min(axis=axis, keepdims=True), values.max(axis=axis, keepdims=True)
    spread = np.where(high > low, high - low, 1.0)  # a constant becomes 0, not 0/0
    return pd.DataFrame((values - low) / spread, index=table.index, columns=table.columns)


def _mean_distance(table: pd.DataFrame, names: list[str], class_names: list[str]) -> float:
    """Eq. 6: the mean over epochs and subsets of the distance to the mean clean class (Eq. 5)."""
    centre = table[class_names].to_numpy().mean(axis=1, keepdims=True)
    return float(np.abs(table[names].to_numpy() - centre).mean())
