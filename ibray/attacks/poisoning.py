"""Which training images are poisoned: the one place where a ratio becomes sets of positions.

``train_set`` (dirty label): the ratio is a fraction of the WHOLE training set, spread evenly over the source
classes: all original classes, the target class included, as in the paper's released code (which takes the last
images of each class; here the seed chooses), unless the label policy names some. ``target_class`` (clean label): a
fraction of the target class. ``none``: nothing, ratio 0. Source: arXiv 2511.21923, experimental setting.

Beside the backdoor images some attacks have cover images, which carry a trigger and keep their own labels. They are
spread evenly over all classes, among the images that are left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Policy = Literal["train_set", "target_class", "none"]


@dataclass(frozen=True)
class Poisoned:
    """Positions in the training set, int64, ascending, on the CPU, the same on every device; no image is in both."""

    backdoor: Tensor
    cover: Tensor


def half_up(share: float, of: int) -> int:
    """share x of, rounded half up. 0.29 x 50 is 14.499999999999998 in binary, and whoever wrote it means 14.5."""
    return int((Decimal(str(share)) * of).to_integral_value(ROUND_HALF_UP))


def choose_images(
    labels: Tensor,
    *,
    ratio: float,
    target: int,
    policy: Policy,
    seed: int,
    sources: Sequence[int] | None = None,
    divide: Callable[[int], tuple[int, int]] = lambda count: (count, 0),
) -> Poisoned:
    """The images that become backdoor and cover images.

    labels: integers of shape N. The count is ratio x N (or ratio x size of the target class) rounded half up, and
    ``divide`` turns it into the numbers of backdoor and cover images. With ``train_set`` the counts of the
    ``sources`` (default: all classes) differ by at most one, unless a class is exhausted; the seed decides which
    classes give one more and which images each gives. Raises ValueError for a ratio outside (0,1) (other than 0 with
    ``none``), one that rounds to no backdoor image, a class with too few images, or a class that the labels do not
    hold.
    """
    nothing = torch.empty(0, dtype=torch.int64)
    if policy == "none":
        if ratio != 0:
            raise ValueError(f"ratio: {ratio} of nothing: an attack that poisons nothing has ratio 0")
        return Poisoned(nothing, nothing)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < 1:
        raise ValueError(f"ratio: expected a fraction between 0 and 1 (both excluded), got {ratio!r}")
    values = labels.cpu().numpy()
    classes = np.unique(values)
    if target not in classes:
        raise ValueError(f"target: no training image has class {target}; there are {classes.tolist()}")
    rng = np.random.default_rng(seed)

    if policy == "target_class":
        members = np.flatnonzero(values == target)
        count = _count(ratio, len(members), f"images of class {target}")
        return Poisoned(torch.from_numpy(np.sort(_take(members, count, rng))), nothing)
    if policy != "train_set":
        raise ValueError(f"policy: expected 'train_set', 'target_class' or 'none', got {policy!r}")

    backdoors, covers = divide(_count(ratio, len(values), "training images"))
    if backdoors < 1:
        raise ValueError(f"ratio: {ratio} of {len(values)} training images leaves no image for the backdoor")
    takes = f"ratio: {ratio} of {len(values)} images"
    backdoor = _spread(values, backdoors, classes if sources is None else sources, rng, takes)
    if not covers:
        return Poisoned(torch.from_numpy(backdoor), nothing)
    left = values.copy()
    left[backdoor] = -1
    cover = _spread(left, covers, classes, rng, f"{takes} as backdoor and {covers} more as cover images")
    return Poisoned(torch.from_numpy(backdoor), torch.from_numpy(cover))


def _spread(
    values: np.ndarray, total: int, classes: Sequence[int], rng: np.random.Generator, takes: str
) -> np.ndarray:
    """``total`` positions, ascending, the same number of each class but for the remainder."""
    classes = np.asarray(classes)
    sizes = np.array([np.count_nonzero(values == c) for c in classes])
    each, rest = divmod(total, len(classes))
    able = np.flatnonzero(sizes > each)  # the classes that can give one more
    if (sizes < each).any() or len(able) < rest:
        smallest = int(sizes.argmin())
        raise ValueError(
            f"{takes} spread evenly over {len(classes)} classes takes {each + bool(rest)} of each, but class "
            f"{int(classes[smallest])} has only {int(sizes[smallest])}"
        )
    counts = np.full(len(classes), each)
    counts[_take(able, rest, rng)] += 1
    chosen = [_take(np.flatnonzero(values == c), count, rng) for c, count in zip(classes, counts, strict=True)]
    return np.sort(np.concatenate(chosen))


def _count(ratio: float, size: int, of: str) -> int:
    count = half_up(ratio, size)
    if count == 0:
        raise ValueError(f"ratio: {ratio} of {size} {of} rounds to no image at all")
    return count


def _take(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` of ``values``. Sorts random keys: NumPy keeps only the raw stream stable across versions."""
    return values[np.argsort(rng.random(len(values)), kind="stable")[:count]]
