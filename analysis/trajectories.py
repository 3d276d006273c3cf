"""Mutual information over training: the rows behind the paper's Fig. 3."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd

CLEAN_CLASS = "clean class"
LAYER = "T"  # the last hidden layer, pooled: the paper's T
XT, TY = "I(X;T)", "I(T;Yhat)"
ESTIMATE = ["run_id", "estimator", "protocol", "settings"]
AXES = ["dataset", "attack", "poison_ratio", "ratio_of", "target_class", "architecture", "sigma", "seed"]


def mi_rows(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Every finished estimate beside the axes of its run: the view `trajectories` (nats)."""
    return connection.sql("SELECT * FROM trajectories").df()


def subset_roles(rows: pd.DataFrame) -> pd.Series:
    """The part each row's subset plays: all, backdoor, clean, sample, 'clean class' or other.

    Args:
        rows: columns `subset` (such as '0_clean') and `target_class`.
    """
    # Looked up in a small table: text operations on each of a million rows take seconds.
    subset, subsets = pd.factorize(rows["subset"])
    target, targets = pd.factorize(rows["target_class"])
    table = np.array([[_role(name, its) for its in targets] for name in subsets], dtype=object)
    return pd.Series(table[subset, target] if len(rows) else [], index=rows.index, name="role", dtype=object)


def _role(subset: str, target: int) -> str:
    if subset.isdecimal():
        return "all" if subset == str(target) else CLEAN_CLASS
    of, _, part = subset.partition("_")
    return part if of == str(target) and part in ("backdoor", "clean", "sample") else "other"


def mean_table(values: np.ndarray, where: tuple, shape: tuple[int, ...]) -> np.ndarray:
    """Estimates laid out; those that share a place are averaged, NaN left out."""
    total, count = np.zeros(shape), np.zeros(shape)
    known = np.isfinite(values)
    np.add.at(total, where, np.where(known, values, 0))
    np.add.at(count, where, known)
    with np.errstate(invalid="ignore"):
        return total / count


def against_certified(rows: pd.DataFrame) -> pd.DataFrame:
    """Every estimate that is not certified beside the certified lower bound of the same run, epoch and subset.

    Args:
        rows: rows of the view `trajectories` under several protocols, `certified` among them.

    Returns:
        The rows of other protocols that have a partner, with `certified` (nats: the highest of its lower bounds),
        `certified_upper` (nats, NaN where unknown) and `gap` (nats): the estimate less `certified`. A gap below 0 lies
        under what is proven.
    """
    keys = ["run_id", "epoch", "subset", "quantity", "layer"]
    proven = rows["protocol"] == "certified"
    bounds = (
        rows[proven]
        .groupby(keys, as_index=False)
        .agg(certified=("lower_bound", "max"), certified_upper=("upper_bound", "min"))
    )
    pairs = rows[~proven].merge(bounds, on=keys)
    pairs = pairs.assign(
        **{
            name: pd.to_numeric(pairs[name], errors="coerce").astype(float)
            for name in ("nats", "certified", "certified_upper")
        }
    )
    pairs["gap"] = pairs["nats"] - pairs["certified"]
    return pairs[np.isfinite(pairs["gap"])]
