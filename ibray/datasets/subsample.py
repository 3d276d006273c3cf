"""Choosing images: a shuffle that stays the same across versions, and class-balanced subsampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ibray.errors import UserError

# Not the run's seed: every cell of a grid trains on the same images, so that cells differ in what they vary.
SUBSAMPLE_SEED = 20251121


def shuffled(values: np.ndarray, *, seed: int | Sequence[int]) -> np.ndarray:
    """``values`` in an order given by ``seed``.

    Sorts random keys instead of calling ``Generator.permutation``: NumPy keeps the raw stream of a bit
    generator stable across versions, but not what its methods make of it.
    """
    return values[np.argsort(np.random.default_rng(seed).random(len(values)), kind="stable")]


def balanced_indices(
    labels: np.ndarray, per_class: int, *, key: str, dataset: str, stream: int
) -> np.ndarray:
    """Positions (int64, ascending) of ``per_class`` images of every class.

    A smaller ``per_class`` chooses a subset of a larger one's. ``stream`` separates splits; ``key`` is the
    name of the setting in error messages. Raises UserError when a class is too small.
    """
    if isinstance(per_class, bool) or not isinstance(per_class, int | np.integer) or per_class < 1:
        raise UserError(f"{key}: expected a whole number of at least 1, got {per_class!r}")
    classes, sizes = np.unique(labels, return_counts=True)
    smallest = int(sizes.min())
    if per_class > smallest:
        raise UserError(
            f"{key}: {per_class} images of each class asked for, but dataset '{dataset}' has only {smallest} "
            f"of "
            f"class {int(classes[sizes.argmin()])}; the largest value allowed is {smallest}"
        )
    chosen = [
        shuffled(np.flatnonzero(labels == c), seed=(SUBSAMPLE_SEED, stream, int(c)))[:per_class]
        for c in classes
    ]
    return np.sort(np.concatenate(chosen))
