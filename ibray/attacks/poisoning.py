"""Which training images are poisoned: the one place where a ratio becomes a set of positions.

``train_set`` (dirty label): the ratio is a fraction of the WHOLE training set, spread evenly over all
original classes, the target class included, as in the paper's released code (which takes the last images of
each class; here the seed chooses). ``target_class`` (clean label): a fraction of the target class. ``none``:
nothing, ratio 0. Source: arXiv 2511.21923, experimental setting.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Policy = Literal["train_set", "target_class", "none"]


def choose_poisoned(labels: Tensor, *, ratio: float, target: int, policy: Policy, seed: int) -> Tensor:
    """Positions of the images to poison: int64, ascending, on the CPU, the same on every device.

    labels: integers of shape N. The count is ratio x N (or ratio x size of the target class) rounded half up.
    With ``train_set`` the classes' counts differ by at most one, unless a class is exhausted; the seed
    decides which classes give one more and which images each gives. Raises ValueError for a ratio outside
    (0,1) (other than 0 with ``none``), one that rounds to no image, a class with too few images, or a target
    class that the labels do not hold.
    """
    if policy == "none":
        if ratio != 0:
            raise ValueError(f"ratio: {ratio} of nothing: an attack that poisons nothing has ratio 0")
        return torch.empty(0, dtype=torch.int64)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < 1:
        raise ValueError(f"ratio: expected a fraction between 0 and 1 (both excluded), got {ratio!r}")
    values = labels.cpu().numpy()
    classes, sizes = np.unique(values, return_counts=True)
    if target not in classes:
        raise ValueError(f"target: no training image has class {target}; there are {classes.tolist()}")
    rng = np.random.default_rng(seed)

    if policy == "target_class":
        members = np.flatnonzero(values == target)
        count = _count(ratio, len(members), f"images of class {target}")
        return torch.from_numpy(np.sort(_take(members, count, rng)))
    if policy != "train_set":
        raise ValueError(f"policy: expected 'train_set', 'target_class' or 'none', got {policy!r}")

    total = _count(ratio, len(values), "training images")
    each, rest = divmod(total, len(classes))
    able = np.flatnonzero(sizes > each)  # the classes that can give one more
    if (sizes < each).any() or len(able) < rest:
        smallest = int(sizes.argmin())
        raise ValueError(
            f"ratio: {ratio} of {len(values)} images spread evenly over {len(classes)} classes takes "
            f"{each + bool(rest)} of each, but class {int(classes[smallest])} has only {int(sizes[smallest])}"
        )
    counts = np.full(len(classes), each)
    counts[_take(able, rest, rng)] += 1
    chosen = [
        _take(np.flatnonzero(values == c), count, rng) for c, count in zip(classes, counts, strict=True)
    ]
    return torch.from_numpy(np.sort(np.concatenate(chosen)))


def _count(ratio: float, size: int, of: str) -> int:
    # Decimal of the written number: 0.29 * 50 is 14.499999999999998 in binary, and the user means 14.5.
    count = int((Decimal(str(ratio)) * size).to_integral_value(ROUND_HALF_UP))
    if count == 0:
        raise ValueError(f"ratio: {ratio} of {size} {of} rounds to no image at all")
    return count


def _take(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` of ``values``. Sorts random keys: NumPy keeps only the raw stream stable across versions."""
    return values[np.argsort(rng.random(len(values)), kind="stable")[:count]]
