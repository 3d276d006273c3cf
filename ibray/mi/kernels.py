"""HSIC and matrix-based Renyi information: surrogates, measures of dependence that are not mutual information.

The literature on information planes uses both in its place. They share Gaussian kernels exp(-|a - b|^2 / 2 s^2) whose
bandwidth s is the median distance between samples, on standardised features.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ibray.errors import UserError
from ibray.mi.interface import EstimationError, MIEstimate
from ibray.mi.prepare import as_points, check_varies
from ibray.mi.samples import paired
from ibray.mi.setting_checks import check_whole
from ibray.seeds import generator

MEDIAN_OF = 1000
"""Images between which distances are taken for the bandwidth."""

BLOCK_ROWS = 1024


@dataclass(frozen=True)
class HSICSettings:
    """None: the bandwidth is the median distance."""


@dataclass(frozen=True)
class RenyiSettings:
    """The order of the entropy, and how many images are used."""

    alpha: float = 1.01
    max_images: int = 1000
    """At most so many, drawn at random: the time grows with their cube."""

    def __post_init__(self):
        if type(self.alpha) not in (int, float) or not 0 < self.alpha < math.inf or self.alpha == 1:
            raise UserError(f"setting alpha must be positive and not 1 (1.01 is near Shannon's), not {self.alpha!r}")
        check_whole(self, {"max_images": 2})


def hsic(x: object, y: object, *, seed: int = 0) -> MIEstimate:
    """Normalised HSIC, `nats` from 0 (independent) to 1 (the same up to an isometry and a scale); it is not in nats.

    x (N, Dx) or (N, M, Dx), y (N, Dy) or (N, M, Dy), the first of M draws only. HSIC(x, y) / sqrt(HSIC(x, x)
    HSIC(y, y)) with the unbiased estimate of each (Gretton et al. 2005; Song et al. 2012), so that it is 0 on average
    for independent variables; below 0 it is reported as 0. No interval. Raises EstimationError, also for fewer than 4
    samples.
    """
    started = time.perf_counter()
    samples = paired(x, y)
    check_varies(samples)
    n = samples.n
    if n < 4:
        raise EstimationError(f"{n} samples: hsic needs at least 4")
    a, b = as_points(samples)
    s, t = (_bandwidth(v, seed) for v in (a, b))
    sums = torch.zeros(3, dtype=torch.float64, device=a.device)  # of K o L, K o K and L o L
    degrees = []
    for start in range(0, n, BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        k, m = _kernel(a[rows], a, s), _kernel(b[rows], b, t)
        k.diagonal(start).zero_()
        m.diagonal(start).zero_()
        sums += torch.stack([(k * m).sum(), k.square().sum(), m.square().sum()])
        degrees.append(torch.stack([k.sum(1), m.sum(1)]))
    k, m = torch.cat(degrees, 1)
    xy, xx, yy = (
        float(total + d.sum() * e.sum() / ((n - 1) * (n - 2)) - 2 * (d @ e) / (n - 2))
        for total, d, e in zip(sums, (k, k, m), (m, k, m), strict=True)
    )
    # Equal up to rounding: hardly any two samples differ.
    raw = xy / math.sqrt(xx * yy) if min(xx, yy) > 0 else 0.0
    return _surrogate("hsic", raw, n, started)


def renyi(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """S(x) + S(y) - S(x, y) with the matrix-based entropy of order alpha, `nats` in units of nats but not information.

    x (N, Dx) or (N, M, Dx), y (N, Dy) or (N, M, Dy), the first of M draws only. S = log(sum of the eigenvalues of
    K / N to the alpha) / (1 - alpha), and the kernel of the pair is the product of the two (Sanchez Giraldo et al.
    2015, 1211.2459; Yu et al. 2020, 1808.07912). No interval. settings: RenyiSettings. Raises
    EstimationError.
    """
    started = time.perf_counter()
    options = RenyiSettings(**settings)
    samples = paired(x, y)
    check_varies(samples)
    chosen = torch.randperm(samples.n, generator=generator(seed, "images"))[: options.max_images].to(samples.x.device)
    kernels = [_kernel(v, v, _bandwidth(v, seed)) for v in (p[chosen] for p in as_points(samples))]
    joint = kernels[0] * kernels[1]
    raw = sum(entropy(k, options.alpha) for k in kernels) - entropy(joint, options.alpha)
    return _surrogate("renyi", raw, len(chosen), started)


def entropy(kernel: Tensor, alpha: float) -> float:
    """The matrix-based entropy of order alpha in nats of a kernel matrix (N, N) with ones on its diagonal.

    0 where all N samples are the same, log N where all are far from each other.
    """
    values = torch.linalg.eigvalsh(kernel / len(kernel)).clamp_min(0)
    return float(values.pow(alpha).sum().log()) / (1 - alpha)


def _bandwidth(points: Tensor, seed: int) -> float:
    chosen = torch.randperm(len(points), generator=generator(seed, "bandwidth"))[:MEDIAN_OF].to(points.device)
    distances = torch.pdist(points[chosen])
    median = float(distances.median())
    # Where most samples are the same, the median tells nothing.
    return median if median > 0 else float(distances.mean())


def _kernel(a: Tensor, b: Tensor, bandwidth: float) -> Tensor:
    return torch.cdist(a, b).square_().div_(-2 * bandwidth**2).exp_()


def _surrogate(name: str, raw: float, n: int, started: float) -> MIEstimate:
    return MIEstimate(
        nats=max(0.0, raw),
        raw=raw,
        ci_low=None,
        ci_high=None,
        lower_bound=None,
        upper_bound=None,
        ceiling=None,
        n=n,
        negatives=None,
        estimator=name,
        protocol="direct",
        critic_epochs=None,
        seconds=time.perf_counter() - started,
    )
