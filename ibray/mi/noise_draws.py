"""I(X;T) from noise draws of T alone: noise enters in every layer, so p(t|x) is known by its draws only.

One draw per image is held out. PLDA fitted to the others is a density q(t|x) that has not seen it, and any such q gives
a lower bound on the information (bounds.py): how surely does a held-out draw tell which image it comes from?

- `closed`: X is one of these N images, each as likely; I(X;T) lies in [bound, log N]. It is also, on average, below the
  I(X;T) of the population that the images are a sample of.
- `certified`: q is fitted to one half of the images and scored on the other, both ways. This holds for the population;
  no upper bound is known for it. At most log(N/2).

Source: mi.md sections 3 and 5; Poole et al. 2019 (arXiv 1905.06922) for the bound.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ibray.mi.bounds import Mean, bracket, over_images, pair_terms
from ibray.mi.interface import EstimationError, MIEstimate
from ibray.mi.plda import PLDA, DrawStatistics, fit_plda
from ibray.mi.samples import drawn, project
from ibray.seeds import generator


@dataclass(frozen=True)
class HeldOut:
    """N images: one draw of T each to score, and what is to be known of the others."""

    scored: Tensor
    """(N, D) float32."""
    fitted: DrawStatistics


@dataclass(frozen=True)
class XTEstimates:
    """I(X;T) under two protocols, from the same draws; `seconds` of each is the time of both."""

    closed: MIEstimate
    certified: MIEstimate
    draws: int
    """Noise draws per image that were used, the held-out one included."""


def hold_out(t: object, seed: int = 0) -> HeldOut:
    """t: (N, M, D), M >= 3 noise draws of T for each of N >= 4 images; the first is held out. seed: draws the halves.

    Raises EstimationError for too few images or draws, and for NaN or infinite values.
    """
    draws = drawn(t)
    n, m = draws.shape[:2]
    if n < 4 or m < 3:
        raise EstimationError(f"{n} images with {m} draws: at least 4 images with 3 draws are needed")
    order = torch.randperm(n, generator=generator(seed, "halves"))
    half = torch.zeros(n, dtype=torch.long).index_fill_(0, order[: n // 2], 1)
    return HeldOut(draws[:, 0].clone(), DrawStatistics(draws[:, 1:], half.to(draws.device)))


def known_noise_xt(held: HeldOut) -> XTEstimates:
    """Both lower bounds on I(X;T), as estimates; a bound below 0 is reported as 0, `raw` keeps it.

    Raises EstimationError where T has no noise, or too few draws to know its covariance from half of the images.
    """
    started = time.perf_counter()
    fitted, n = held.fitted, len(held.scored)
    closed = closed_terms(held, fit_all(held))
    certified = torch.empty_like(closed)
    for half in (0, 1):
        images = fitted.half == half
        plda = fit_plda(fitted.means[~images], fitted.scatter[1 - half], fitted.draws)
        certified[images] = _terms(plda, fitted.means[images], held.scored[images])
    seconds = time.perf_counter() - started
    return XTEstimates(
        closed=closed_estimate(closed, seconds),
        certified=bracket(
            over_images(certified),
            None,
            ceiling=math.log(n - n // 2),
            n=n,
            negatives=n - n // 2 - 1,
            protocol="certified",
            seconds=seconds,
        ),
        draws=fitted.draws + 1,
    )


def adaptive_xt(
    draw: Callable[[int], Tensor], *, seed: int = 0, start: int = 8, most: int = 64, tolerance: float = 0.1
) -> tuple[XTEstimates, HeldOut]:
    """`known_noise_xt` with as many draws as it takes: doubled until neither bound moves by `tolerance` nats.

    draw: count -> that many new, independent draws of T, (N, count, D), for the same images in the same order; it is
    called with `start` only, several times over, and keeps no draws alive. start, most: the least and the largest
    number of draws, the held-out one included. Where the noise of T takes more draws to be known, the bounds are first
    computed with those. Returns the estimates, and what they were made from, for `noise_ladder`.
    """
    held = hold_out(draw(start), seed)
    previous = None
    while True:
        draws = held.fitted.draws + 1
        last = 2 * draws > most
        if last or held.fitted.sufficient:
            estimates = known_noise_xt(held)
            if last or (previous and _moved(previous, estimates) < tolerance):
                return estimates, held
            previous = estimates
        for _ in range(draws // start):
            held.fitted.add(drawn(draw(start)))


def fit_all(held: HeldOut) -> PLDA:
    """The model of all images."""
    return fit_plda(held.fitted.means, held.fitted.scatter.sum(0), held.fitted.draws)


def closed_terms(held: HeldOut, plda: PLDA, noise: Tensor | float = 0.0, variance: float = 0.0) -> Tensor:
    """(N, 1) float64 terms of the closed-set bound on I(X; T + noise), noise (N, D) of `variance` in every feature."""
    return _terms(plda, held.fitted.means, held.scored + noise, variance)


def closed_estimate(terms: Tensor, seconds: float) -> MIEstimate:
    """The estimate of protocol `closed` that its terms (N, 1) make: [bound, log N]."""
    n = len(terms)
    ceiling = math.log(n)
    return bracket(
        over_images(terms),
        Mean(ceiling, 0.0),
        ceiling=ceiling,
        n=n,
        negatives=n - 1,
        protocol="closed",
        seconds=seconds,
    )


def _terms(plda: PLDA, means: Tensor, scored: Tensor, variance: float = 0.0) -> Tensor:
    """log(n q(t_i|x_i) / sum_j q(t_i|x_j)), (n, 1), for images of these means and their held-out draws, (n, D) each."""
    if len(plda.posterior) == 0:  # no direction in which the images are known to differ
        return scored.new_zeros(len(scored), 1, dtype=torch.float64)
    sample_map, candidate_map = plda.coordinates(variance)
    middle = plda.mean.float()
    samples, candidates = project(scored - middle, sample_map), project(means - middle, candidate_map)
    return pair_terms(samples.unsqueeze(1), candidates.unsqueeze(1))[0]


def _moved(before: XTEstimates, after: XTEstimates) -> float:
    return max(abs(after.closed.nats - before.closed.nats), abs(after.certified.nats - before.certified.nats))
