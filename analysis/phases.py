"""One representative epoch for each of the paper's four training phases."""

from __future__ import annotations

import pandas as pd

TIE_DECIMALS = 12  # peaks closer than 1e-12 nats are a tie, whatever order their terms were added in


def phase_epochs(clean_xt: pd.Series) -> dict[str, int]:
    """The snapshot that stands for each phase; two phases may share one.

    The rule: early learning is the first snapshot, transition the one where I(X;T) of the clean classes
    peaks (the first on ties), convergence the last, and compression lies half-way, by position and rounded
    up, between transition and convergence.

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
