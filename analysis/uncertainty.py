"""How far each estimate may be off, from its own interval, and draws within that."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

Z95 = 1.959964  # standard deviations from the middle of a 95% interval to either end
Uncertainty = Literal["interval", "sampling"]


def errors(rows: pd.DataFrame, uncertainty: Uncertainty = "interval") -> tuple[np.ndarray, np.ndarray]:
    """Standard errors (nats, >= 0, NaN where unknown) of each estimate downwards and upwards.

    Args:
        rows: `nats` and whichever there are of `ci_low`, `ci_high` (95%) and `standard_error`.
        uncertainty: 'interval' takes the distance to either end of the interval over 1.96, so that of a
            certified estimate takes the gap between its bounds in; a side without an end (an upper bound that
            is not known) falls back on the standard error, then on the other side. 'sampling' takes the
            standard error over images first: what is known of the bound itself rather than of the truth.

    By hand: nats 2, interval 1.608..2.98 gives 0.2 downwards and 0.5 upwards.
    """
    if uncertainty not in ("interval", "sampling"):
        raise ValueError(f"uncertainty is 'interval' or 'sampling', not {uncertainty!r}")
    nats, low, high, error = (_column(rows, name) for name in ("nats", "ci_low", "ci_high", "standard_error"))
    below, above = (np.maximum(side, 0) / Z95 for side in (nats - low, high - nats))
    first = [error, below, above] if uncertainty == "sampling" else [below, error, above]
    second = [error, above, below] if uncertainty == "sampling" else [above, error, below]
    return _first_known(first), _first_known(second)


def draws(nats: np.ndarray, below: np.ndarray, above: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Nats drawn from a two-piece normal: median `nats`, 2.5% and 97.5% points the ends of the interval.

    Args:
        nats, below, above: estimates and standard errors of any one shape; an unknown error moves nothing.
        normal: standard normal draws, whose last axes have that shape.
    """
    return nats + normal * np.nan_to_num(np.where(normal < 0, below, above))


def _column(rows: pd.DataFrame, name: str) -> np.ndarray:
    if name not in rows:
        return np.full(len(rows), np.nan)
    values = rows[name].to_numpy(dtype=float, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _first_known(candidates: list[np.ndarray]) -> np.ndarray:
    known = candidates[0]
    for candidate in candidates[1:]:
        known = np.where(np.isnan(known), candidate, known)
    return known
