"""Trained estimators whose value is held out: no critic is scored on what it was trained on or chosen by.

`population`: the images are a sample of a population, and the critic is cross-fitted over `folds` of them: trained on
the others, and scored on a fold's images with all of that fold as candidates. `closed`: X is uniform on exactly these
n images; the critic is trained on all of them, and scored on a noise draw of y that it has not seen, draw 0, with all n
as candidates. An anchor is a y, its candidates are x.

The standard error is over images: an image's draws are averaged first, and where the value is no mean over anchors
(mine, smile) it is the delta method's. Left out is the part that an image plays as a candidate of others, which is
small where the value is well below the log of the number of candidates, and the spread between critics (several
seeds): for nwj at a few nats and more, whose mean of exp f is a few pairs' affair, the interval is too short.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ibray.mi.fit import CriticSettings, Part, as_seen, fit
from ibray.mi.interface import EstimationError, MIEstimate
from ibray.mi.objectives import MINE, NWJ, SMILE, InfoNCE, own_and_marginal
from ibray.mi.prepare import check_varies, from_terms
from ibray.mi.samples import ROWS, PairedSamples, paired
from ibray.mi.separable import Embedded, SeparableCritic, scores
from ibray.seeds import generator

BLOCK_PAIRS = 2**22
"""Scores that exist at a time: 16 MB, and as much again for their weights."""
KEPT_SHARE = 0.15
"""Of the images trained on, what is kept back to tell the best critic ..."""
KEPT_LEAST = 8
"""... or so many where that is more, but not above a third."""


@dataclass(frozen=True)
class PopulationSettings(CriticSettings):
    """And how the images are divided."""

    folds: int = 2
    """More of them: more images to train on, fewer candidates (n / folds) and time in proportion."""

    def _whole(self) -> dict[str, int]:
        return super()._whole() | {"folds": 2}


def population(make: type[InfoNCE], x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """make: a class of objectives.py. x (N, Dx) or (N, M, Dx), y (N, Dy) or (N, M, Dy); PopulationSettings.

    `lower_bound` is one in expectation (infonce, nwj; not mine, smile), and below 0 it is reported as 0, with the value
    itself in `raw`. `curve` is the mean over folds, where a fold that ended sooner keeps its last value;
    `critic_epochs` counts those of all folds. Memory: a copy of the samples, as normal scores. EstimationError for
    samples without an estimate, also where x or y is constant or a fold or what it leaves is too small.
    """
    started = time.perf_counter()
    options = PopulationSettings(**settings)
    samples = _checked(x, y)
    n, device = samples.n, samples.x.device
    folds = torch.randperm(n, generator=generator(seed, "folds")).tensor_split(options.folds)
    if len(folds[-1]) < 2 or n - len(folds[0]) < 4:
        raise EstimationError(
            f"{n} images in {options.folds} folds leave {n - len(folds[0])} to train on and {len(folds[-1])} to score: "
            "at least 4 and 2 are needed"
        )
    draws = range(samples.draws)
    curves = []
    # Callers may sit in inference mode; the critic needs gradients all the same.
    with torch.inference_mode(False), torch.enable_grad():
        terms = torch.empty(n, dtype=torch.float64)
        for index, fold in enumerate(folds):
            objective = make()
            others = torch.cat([f for i, f in enumerate(folds) if i != index]).to(device)
            kept = _kept(len(others))
            train = Part(others[kept:], draws)
            seen = as_seen(samples, train, (seed, index))
            critic, curve = fit(objective, seen, train, Part(others[:kept], draws), None, options, (seed, index))
            curves.append(curve)
            held_out = Part(fold.to(device), draws[: options.scored_draws])
            terms[fold] = score(objective, critic, seen, held_out, objective.share(len(fold), None))
    least = len(folds[-1])
    return _estimate(
        make,
        terms,
        protocol="population",
        upper_bound=None,
        ceiling=sum(len(f) * math.log(len(f)) for f in folds) / n if make is InfoNCE else None,
        negatives=least - 1,
        critic_epochs=sum(map(len, curves)),
        curve=_mean_curve(curves),
        seconds=time.perf_counter() - started,
    )


def closed(make: type[InfoNCE], x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """make: a class of objectives.py. x (N, Dx) or (N, M, Dx), y (N, M, Dy), M >= 2; settings: CriticSettings.

    Trained on draws 2 to M - 1 and chosen by draw 1; where M is 2, on draw 1 of 85% of the images and chosen by the
    rest's. What x tells of y is at most log n, unless x has noise of its own, when there is no upper bound. Of infonce
    and nwj the interval goes from the value less 1.96 standard errors to the upper bound, of mine and smile it is the
    value's own. EstimationError for samples without an estimate, also where y has one draw, or x or y is constant.
    """
    started = time.perf_counter()
    options = CriticSettings(**settings)
    samples = _checked(x, y)
    n, device = samples.n, samples.x.device
    drawn = samples.y.shape[1]
    if drawn < 2:
        raise EstimationError("protocol 'closed' holds out a noise draw: y needs at least 2 per image and has 1")
    if n < 4:
        raise EstimationError(f"{n} images: protocol 'closed' needs at least 4")
    order = torch.randperm(n, generator=generator(seed, "images")).to(device)
    if drawn > 2:
        train, chosen_by = Part(order, range(2, drawn)), Part(order, [1])
    else:
        train, chosen_by = Part(order[_kept(n) :], [1]), Part(order[: _kept(n)], [1])
    objective = make()
    with torch.inference_mode(False), torch.enable_grad():
        seen = as_seen(samples, train, (seed,))
        critic, curve = fit(objective, seen, train, chosen_by, n, options, (seed,))
        terms = score(objective, critic, seen, Part(torch.arange(n, device=device), [0]), objective.share(n, n))
    upper = math.log(n) if samples.x.shape[1] == 1 else None
    estimate = _estimate(
        make,
        terms,
        protocol="closed",
        upper_bound=upper,
        # Own pairs are among those of Z, so neither a mean nor its log can pass log n; clipped, they can.
        ceiling=math.log(n) if objective.clip is None else None,
        negatives=n - 1,
        critic_epochs=len(curve),
        curve=tuple(curve),
        seconds=time.perf_counter() - started,
    )
    return replace(estimate, ci_high=upper) if make.is_bound else estimate


@torch.no_grad()
def score(objective: InfoNCE, critic: SeparableCritic, samples: PairedSamples, part: Part, share: float) -> Tensor:
    """Terms (B,) float64 on the CPU of the B images of `part`, all of them candidates, averaged over its draws."""
    block = max(1, BLOCK_PAIRS // len(part.images))
    terms = []
    for x, y in part.rows(samples, len(part.draws)):
        anchors, candidates = _embed(critic.y, y), _embed(critic.x, x)
        pieces = [
            own_and_marginal(
                scores(Embedded(*(v[start : start + block] for v in anchors)), candidates), share, objective.clip, start
            )
            for start in range(0, len(y), block)
        ]
        own, marginal = (torch.cat(v).double() for v in zip(*pieces, strict=True))
        terms.append(objective.terms(own, marginal))
    return torch.stack(terms).mean(0).cpu()


def _embed(tower: torch.nn.Module, values: Tensor) -> Embedded:
    return Embedded(*(torch.cat(v) for v in zip(*(tower(rows) for rows in values.split(ROWS)), strict=True)))


def _checked(x: object, y: object) -> PairedSamples:
    samples = paired(x, y)
    check_varies(samples)
    return samples


def _kept(count: int) -> int:
    """How many of `count` images to keep back: at least 2, with at least 2 left to train on."""
    return max(2, round(KEPT_SHARE * count), min(KEPT_LEAST, count // 3))


def _mean_curve(curves: list[list[float]]) -> tuple[float, ...]:
    longest = max(map(len, curves))
    padded = [c + c[-1:] * (longest - len(c)) for c in curves]
    return tuple(sum(values) / len(curves) for values in zip(*padded, strict=True))


def _estimate(make: type[InfoNCE], terms: Tensor, **about: object) -> MIEstimate:
    estimate = from_terms(terms, lower_bound=None, estimator=make.name, **about)
    if not math.isfinite(estimate.raw):
        raise EstimationError(f"{make.name} is not finite on samples held out: try a smaller learning rate")
    return replace(estimate, lower_bound=estimate.nats) if make.is_bound else estimate


def infonce_population(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """`population` with InfoNCE."""
    return population(InfoNCE, x, y, seed=seed, **settings)


def infonce_closed(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """`closed` with InfoNCE."""
    return closed(InfoNCE, x, y, seed=seed, **settings)


def nwj_population(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """`population` with NWJ."""
    return population(NWJ, x, y, seed=seed, **settings)


def nwj_closed(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """`closed` with NWJ."""
    return closed(NWJ, x, y, seed=seed, **settings)


def smile_population(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """`population` with SMILE."""
    return population(SMILE, x, y, seed=seed, **settings)


def smile_closed(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """`closed` with SMILE."""
    return closed(SMILE, x, y, seed=seed, **settings)


def mine_population(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """`population` with MINE."""
    return population(MINE, x, y, seed=seed, **settings)


def mine_closed(x: object, y: object, *, seed: int = 0, **settings: object) -> MIEstimate:
    """`closed` with MINE."""
    return closed(MINE, x, y, seed=seed, **settings)
