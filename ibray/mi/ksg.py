"""KSG: mutual information from nearest neighbours (Kraskov et al. 2004, cond-mat/0305641, algorithm 1), in nats.

For each sample the distance to its k-th neighbour in the joint space, by the largest of the two variables' distances,
is the radius in which its neighbours in x and in y alone are counted. Nothing is trained and no density is assumed;
good in a few dimensions and for a few nats, far too low beyond (mi.md section 4).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from ibray.mi.interface import EstimationError, MIEstimate
from ibray.mi.prepare import as_points, check_varies, from_terms
from ibray.mi.samples import paired
from ibray.mi.setting_checks import check_whole
from ibray.seeds import generator

TIE_BREAK = 1e-10
"""Noise added to every standardised value, as the authors do: equal samples would have no distance."""


@dataclass(frozen=True)
class KSGSettings:
    """The authors' k."""

    k: int = 3
    """Neighbours: more of them, less variance and more bias."""

    def __post_init__(self):
        check_whole(self, {"k": 1})


def ksg(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """x (N, Dx) or (N, M, Dx), y (N, Dy) or (N, M, Dy), features standardised first, the first of M draws only.

    settings: KSGSettings. Runs on the CPU. The interval is over images, taking their terms as independent, though
    neighbours share theirs; the bias, which grows with dimension and information, is not in it. Raises EstimationError,
    also for k samples or fewer.
    """
    from sklearn.neighbors import KDTree  # 1.5 s, which every worker of another estimator is spared

    started = time.perf_counter()
    k = KSGSettings(**settings).k
    samples = paired(x, y)
    check_varies(samples)
    n = samples.n
    if n <= k:
        raise EstimationError(f"{n} samples have no {k} neighbours each: set a smaller k")
    rng = generator(seed, "ties")
    a, b = (_spread(points, rng) for points in as_points(samples))
    both = np.hstack([a, b])
    distance, _ = KDTree(both, metric="chebyshev").query(both, k=k + 1)
    radius = np.nextafter(distance[:, k], 0)  # neighbours at exactly this distance do not count
    near = [KDTree(v, metric="chebyshev").query_radius(v, radius, count_only=True) for v in (a, b)]
    # The count holds the sample itself, which makes it the n + 1 of the formula.
    terms = torch.digamma(torch.tensor([k, n], dtype=torch.float64)).sum() - sum(
        torch.digamma(torch.as_tensor(counts, dtype=torch.float64)) for counts in near
    )
    return from_terms(
        terms,
        lower_bound=None,
        upper_bound=None,
        ceiling=None,
        negatives=None,
        estimator="ksg",
        protocol="direct",
        critic_epochs=None,
        seconds=time.perf_counter() - started,
    )


def _spread(points: torch.Tensor, rng: torch.Generator) -> np.ndarray:
    points = points.cpu()
    return (points + TIE_BREAK * torch.randn(points.shape, generator=rng, dtype=torch.float64)).numpy()
