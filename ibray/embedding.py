"""Where a network puts the backdoor images: maps of T for the eye, and numbers computed on T itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

SUBCLUSTER_SHARE = 0.05  # of the backdoor images: the smallest group that counts as a sub-cluster
SUBCLUSTER_LEAST = 5  # images, however few there are
NEIGHBOURS = 5  # HDBSCAN's min_samples: the neighbours that a density is judged by
FEWEST_ON_A_MAP = 4  # t-SNE wants a perplexity of at least 1, and that is a third of the other images


@dataclass(frozen=True)
class Metric:
    """One number about the backdoor images in T; value is None where there are too few images, n is their number."""

    metric: Literal["silhouette", "subclusters", "unclustered", "distance", "spread", "class_distance"]
    value: float | None
    n: int


def tsne_map(t: np.ndarray, *, perplexity: float, seed: int) -> np.ndarray:
    """A map (N, 2) of T (N, D) by t-SNE, the same bits for the same input on one machine.

    openTSNE with exact neighbours, initialised by PCA, in one thread. A perplexity above a third of the other images
    is lowered to that. Fewer than 4 images lie at the origin, as there is nothing to arrange.
    """
    if len(t) < FEWEST_ON_A_MAP:
        return np.zeros((len(t), 2))
    from openTSNE import TSNE  # half a second, which every other stage and command is spared

    embedding = TSNE(
        perplexity=min(perplexity, (len(t) - 1) / 3),
        initialization="pca",
        neighbors="exact",
        negative_gradient_method="bh",  # unlike the interpolation by FFT, whose grid makes no sense for few images
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(embedding.fit(np.ascontiguousarray(t, dtype=np.float64)))


def backdoor_metrics(
    backdoor: np.ndarray | None, target: np.ndarray, clean_classes: Mapping[str, np.ndarray]
) -> list[Metric]:
    """How the backdoor images lie to the target class's clean images.

    backdoor, target: T (N, D) of the backdoor images (None without an attack) and of the target class's clean images.
    clean_classes: T of other classes, by name.

    silhouette      mean over the backdoor images, of the two groups backdoor and clean of the target class; -1 to 1,
                    near 0 where they lie among each other
    subclusters     how many groups HDBSCAN finds among the backdoor images, each at least 5% of them and 5 images;
                    1 where it finds none, since it never returns a single group
    unclustered     the share of the backdoor images that it leaves outside; 0 where it finds no groups
    distance        between the means of backdoor and target class, in RMS spreads of the target class
    spread          RMS spread of the backdoor images, in the same unit
    class_distance  as `distance` of the other classes, averaged: how far apart whole classes lie

    The RMS spread is the root of the mean squared distance to the mean. Of an untrained network all may be None.
    """
    unit = _spread(target)
    apart = [_distance(each, target, unit) for each in clean_classes.values() if len(each)]
    known = [each for each in apart if each is not None]
    total = sum(len(each) for each in clean_classes.values())
    of_classes = Metric("class_distance", float(np.mean(known)) if known else None, total)
    if backdoor is None or not len(backdoor):
        return [of_classes]
    n = len(backdoor)
    subclusters, unclustered = _subclusters(backdoor)
    spread = _spread(backdoor)
    return [
        Metric("silhouette", _silhouette(backdoor, target), n),
        Metric("subclusters", subclusters, n),
        Metric("unclustered", unclustered, n),
        Metric("distance", _distance(backdoor, target, unit), n),
        Metric("spread", spread / unit if spread is not None and unit else None, n),
        of_classes,
    ]


def _spread(t: np.ndarray) -> float | None:
    return float(np.sqrt(np.square(t - t.mean(0)).sum(1).mean())) if len(t) > 1 else None


def _distance(t: np.ndarray, target: np.ndarray, unit: float | None) -> float | None:
    return float(np.linalg.norm(t.mean(0) - target.mean(0))) / unit if unit else None


def _silhouette(backdoor: np.ndarray, target: np.ndarray) -> float | None:
    if len(backdoor) < 2 or len(target) < 2:
        return None
    from sklearn.metrics import silhouette_samples  # as below

    is_backdoor = np.repeat([True, False], [len(backdoor), len(target)])
    return float(silhouette_samples(np.concatenate([backdoor, target]), is_backdoor)[is_backdoor].mean())


def _subclusters(backdoor: np.ndarray) -> tuple[float | None, float | None]:
    smallest = max(SUBCLUSTER_LEAST, round(SUBCLUSTER_SHARE * len(backdoor)))
    if len(backdoor) < 2 * smallest:
        return None, None
    from sklearn.cluster import HDBSCAN  # 1.5 s of every worker's start, of which most never make a map

    labels = HDBSCAN(min_cluster_size=smallest, min_samples=NEIGHBOURS, n_jobs=1, copy=True).fit(backdoor).labels_
    found = int(labels.max()) + 1
    return (float(found), float((labels < 0).mean())) if found else (1.0, 0.0)
