"""Bounds on I(S; T) for a known channel T = S + N(0, I), without training; everything in nats.

Any Gaussian channel with one covariance for every S takes this form once whitened. Let c_j be the values of S at
hand, J uniform on them, t_i drawn from c_i, and l_ij = log p(t_i | c_j) up to a constant shared over j.

- lower: the mean of l_ii - log mean_j exp l_ij, InfoNCE with the optimal critic. It estimates I(J; T) without bias,
  which is on average below I(S; T), whether or not the c_j depend on each other: the entropy of a mixture is concave.
  With another density q in place of p it is a lower bound on I(J; T), as long as q does not depend on the t_i.
- upper: the same with the mean over the c_j of other images only (leave-one-out, Poole et al. 2019, arXiv 1905.06922),
  on average above I(S; T), since those are independent of t_i.

No matrix of all pairs exists at any time: scores are made and reduced for a block of images at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ibray.mi.interface import MIEstimate

# Scores in a block. On a CPU 4 MB: caches; a GPU wants few launches.
BLOCK_SCORES = {"cpu": 2**20, "cuda": 2**26}

# A float32 score is good to about 6e-8 |c|^2: to 6e-4 nats while the mean of |c|^2 is below this, float64 above.
LARGEST_NORM_IN_FLOAT32 = 1e4


class Mean(NamedTuple):
    """A mean in nats and its standard error over images."""

    value: float
    error: float


def over_images(terms: Tensor) -> Mean:
    """The mean of terms (N, M); the M draws of an image are averaged first, so that they do not count as samples."""
    per_image = terms.double().mean(1)
    return Mean(float(per_image.mean()), float(per_image.std()) / math.sqrt(len(per_image)))


def pair_terms(samples: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """The terms of both bounds, lower and upper, float64 (N, M) each; their means are the bounds.

    samples: (N, M, D), M draws of T for each of N >= 2 images, in units where the noise is N(0, I).
    centres: (N, C, D), S: C = 1 if all draws of an image share it, else draw m of `samples` is drawn from centre m and
    C >= M. All N C centres are candidates for every sample: the lower terms are at most log(N C).
    """
    n, c = centres.shape[:2]
    middle = centres.mean((0, 1))
    samples, centres = samples - middle, centres - middle
    lower, upper = samples.new_empty(2, *samples.shape[:2], dtype=torch.float64)
    for block, scores in _blocks(samples, centres):
        # Own centres exactly and by themselves: the upper bound leaves them out.
        scores.diagonal(block.start, 0, 2).fill_(-math.inf)
        t = samples[block].double()
        top = scores.amax((2, 3), keepdim=True)
        # Sums of one row in float32 are good to 1e-6 (torch adds pairwise); in float64 they take a copy of the block.
        sums = scores.sub_(top).exp_().sum((2, 3)).double()
        others = sums.log() + top[..., 0, 0] - 0.5 * t.square().sum(-1)
        own = -0.5 * (t.unsqueeze(2) - centres[block].double().unsqueeze(1)).square().sum(-1)
        positive = own.squeeze(2) if c == 1 else own.diagonal(0, 1, 2)
        lower[block] = positive - torch.logaddexp(others, own.logsumexp(2)) + math.log(n * c)
        upper[block] = positive - others + math.log((n - 1) * c)
    return lower, upper


def group_terms(samples: Tensor, centres: Tensor, in_group: Tensor) -> Tensor:
    """Terms (N, M) float64 whose mean is a lower bound on I(B; T), B a property of the images, T = S + N(0, I).

    log q(B_i | t_i) / p(B_i), with q by Bayes' rule from the mixture of each group's centres, that of the image itself
    left out, so that q has not seen it. samples (N, M, D) and centres (N, C, D) as in `pair_terms`; in_group (N,) bool,
    B, with at least two images in either group.
    """
    c = centres.shape[1]
    middle = centres.mean((0, 1))
    samples, centres = samples - middle, centres - middle
    inside = in_group.double()
    prior = torch.where(in_group, inside.mean(), 1 - inside.mean())
    terms = samples.new_empty(samples.shape[:2], dtype=torch.float64)
    for block, scores in _blocks(samples, centres):
        scores.diagonal(block.start, 0, 2).fill_(-math.inf)
        top = scores.amax((2, 3), keepdim=True)
        per_image = scores.sub_(top).exp_().sum(3)  # (images, M, N)
        sums = torch.stack([per_image[:, :, ~in_group].sum(2), per_image[:, :, in_group].sum(2)]).double()
        own = in_group[block].long().view(1, -1, 1)
        counts = torch.stack([(1 - inside).sum() - (1 - own[0]), inside.sum() - own[0]]) * c
        weights = torch.stack([1 - inside.mean(), inside.mean()]).view(2, 1, 1) * sums / counts
        posterior = torch.where(own[0].bool(), weights[1], weights[0]) / weights.sum(0)
        # Far from all centres of its own group the posterior underflows: bounded by the smallest number there is.
        terms[block] = posterior.clamp_min(torch.finfo(torch.float64).tiny).log() - prior[block].log().unsqueeze(1)
    return terms


def gaussian_cap(centres: Tensor) -> Mean:
    """1/2 logdet(I + Cov(S)), above I(S; T) for S of any distribution: a Gaussian has the largest entropy.

    centres: (N, C, D) as in `pair_terms`. The sample covariance makes it too low by (tr(H)^2 + tr(H^2)) / 4N for
    Gaussian S, H = (I + Cov)^-1 Cov, about D^2/4N, which is added back; not for N below some 10 D.
    """
    n, c, d = centres.shape
    deviations = (centres.double() - centres.mean((0, 1), dtype=torch.float64)).flatten(0, 1)
    covariance = deviations.T @ deviations / ((n - 1) * c)
    total = covariance + torch.eye(d, dtype=torch.float64, device=centres.device)
    gain = torch.linalg.solve(total, covariance)
    bias = float(gain.trace() ** 2 + (gain @ gain).trace()) / (4 * (n - 1))
    influence = 0.5 * (torch.linalg.solve(total, deviations, left=False) * deviations).sum(1)
    return Mean(0.5 * float(torch.logdet(total)) + bias, over_images(influence.view(n, c)).error)


def kolchinsky_tracey(centres: Tensor) -> tuple[float, float]:
    """Bounds on I(J; T), lower and upper, from the distances between the N C centres alone: no draw is needed.

    -mean_i log mean_j exp(-D_ij) with D the Bhattacharyya distance |c_i - c_j|^2 / 8 below and the Kullback-Leibler
    divergence |c_i - c_j|^2 / 2 above (Kolchinsky and Tracey 2017, arXiv 1706.02419, with alpha 1/2). The upper
    one bounds what is known of these images, I(J; T), not I(S; T). centres: (N, C, D) as in `pair_terms`.
    """
    centres = (centres - centres.mean((0, 1))).flatten(0, 1).unsqueeze(1)
    bounds = centres.new_zeros(2, dtype=torch.float64)
    for block, scores in _blocks(centres, centres):
        scores.sub_(0.5 * centres[block].square().sum(-1)[..., None, None]).clamp_(max=0)
        scores.diagonal(block.start, 0, 2).zero_()
        near = scores.mul_(0.25).exp_()
        bounds[0] -= near.mean((2, 3)).double().log().sum()
        bounds[1] -= near.square_().square_().mean((2, 3)).double().log().sum()
    lower, upper = (bounds / len(centres)).tolist()
    return lower, upper


def bracket(lower: Mean, upper: Mean | None, **about: object) -> MIEstimate:
    """The estimate that two bounds make: `nats` is the lower one, the interval takes in the gap between them.

    upper: None where no upper bound is known, with an error of 0 where it is no estimate. about: the fields of
    MIEstimate that the bounds do not decide. Information is not negative, so a lower bound below 0 is reported as 0.
    """
    floor = max(0.0, lower.value)
    return MIEstimate(
        nats=floor,
        raw=lower.value,
        standard_error=lower.error,
        ci_low=max(0.0, lower.value - 1.96 * lower.error),
        ci_high=None if upper is None else max(floor, upper.value + 1.96 * upper.error),
        lower_bound=floor,
        upper_bound=None if upper is None else max(floor, upper.value),
        estimator="channel",
        critic_epochs=None,
        **about,
    )


def _blocks(samples: Tensor, centres: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of images and their scores t.c - |c|^2 / 2 (images, M, N, C), in a buffer that the next block reuses."""
    (n, m), (_, c, d) = samples.shape[:2], centres.shape
    exact = float(centres.square().sum(-1).mean()) > LARGEST_NORM_IN_FLOAT32
    precision = torch.float64 if exact else torch.float32
    candidates = centres.reshape(-1, d).to(precision)
    half_norms = -0.5 * candidates.square().sum(1)
    images = min(n, max(1, BLOCK_SCORES[samples.device.type] // (m * n * c)))
    buffer = candidates.new_empty(images * m, n * c)
    for start in range(0, n, images):
        block = slice(start, min(start + images, n))
        t = samples[block].reshape(-1, d).to(precision)
        torch.addmm(half_norms, t, candidates.T, out=buffer[: len(t)])
        yield block, buffer[: len(t)].view(-1, m, n, c)
