"""Training a separable critic, the best of which is told by samples that it is not trained on."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ibray.errors import UserError
from ibray.mi.components import reduced
from ibray.mi.gaussian_start import RIDGES, SHRINKS, CanonicalStart
from ibray.mi.interface import EstimationError
from ibray.mi.objectives import InfoNCE, own_and_marginal
from ibray.mi.prepare import normal_scores
from ibray.mi.samples import PairedSamples
from ibray.mi.separable import SeparableCritic
from ibray.mi.setting_checks import check_not_negative, check_positive, check_whole
from ibray.seeds import generator

KEPT_IMAGES = 1024
"""At most so many images tell the best critic: the time of scoring them grows with the square."""
KEPT_DRAWS = 4
"""At most so many of their noise draws."""
START_ROWS = 2**15
"""A critic's start is fitted to noise draws of all images until there are so many rows."""
LEAST_GAIN = 2e-3
"""Nats: what is gained in less than this is kept, but does not prolong the training."""

WARM_UP = 50
"""Steps until the learning rate is reached: Adam's first ones are the same in every weight."""

_WHOLE = {"batch": 2, "hidden": 1, "embedding": 1, "max_epochs": 1, "steps": 1, "patience": 1, "scored_draws": 1}
_POSITIVE = ("learning_rate", "grad_clip")


@dataclass(frozen=True)
class CriticSettings:
    """How a critic is built, trained and scored."""

    batch: int = 512
    """Images per step, at most those trained on; each is a negative of all others. What is left of an epoch is
    dropped; epochs are reshuffled, so each image has its turn."""
    hidden: int = 128
    """Width of the two hidden layers of either tower."""
    embedding: int = 64
    """Length of the vectors that are multiplied: the rank of what is not x's or y's alone in the score."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    averaging: float = 0.9
    """What is checked and scored is a running mean of the weights; this is what a step leaves of it."""
    grad_clip: float = 1.0
    max_epochs: int = 100
    steps: int = 8
    """An epoch is at least so many steps: few images are gone over more than once."""
    patience: int = 8
    """So many epochs without a gain, and training goes on from the best critic with a fifth of the learning rate; as
    many again, and it ends."""
    scored_draws: int = 2
    """Noise draws per image that are scored under `population`, at most those there are."""

    def __post_init__(self):
        check_whole(self, self._whole())
        check_positive(self, _POSITIVE)
        check_not_negative(self, ["weight_decay"])
        if type(self.averaging) not in (int, float) or not 0 <= self.averaging < 1:
            raise UserError(f"setting averaging must be at least 0 and below 1, not {self.averaging!r}")

    def _whole(self) -> dict[str, int]:
        return _WHOLE


@dataclass(frozen=True)
class Part:
    """Samples that serve one purpose: images (B,) by index, each with any of `draws`."""

    images: Tensor
    draws: Sequence[int]

    def rows(self, samples: PairedSamples, most: int) -> list[tuple[Tensor, Tensor]]:
        """x (B, Dx) and y (B, Dy) of each draw, of `most` draws at most; of one where no variable has several."""
        draws = self.draws[:most] if samples.draws > 1 else [0]
        return [samples.pick(self.images, torch.full_like(self.images, draw)) for draw in draws]


def as_seen(samples: PairedSamples, train: Part, seed: tuple[int, ...]) -> PairedSamples:
    """The samples as normal scores in the training part, and as principal components of it where features are many."""

    def seen(values: Tensor, name: str) -> Tensor:
        draws = list(train.draws) if values.shape[1] > 1 else [0]
        # All draws at once would be a copy of the samples; more rows than these change nothing.
        reference = values[train.images][:, draws[: max(1, START_ROWS // len(train.images))]]
        values = normal_scores(values, reference)
        reference = normal_scores(reference, reference).flatten(0, 1)
        return reduced(values, reference, generator(*seed, "components", name))

    return PairedSamples(seen(samples.x, "x"), seen(samples.y, "y"))


def fit(
    objective: InfoNCE,
    samples: PairedSamples,
    train: Part,
    kept: Part,
    images: int | None,
    options: CriticSettings,
    seed: tuple[int, ...],
) -> tuple[SeparableCritic, list[float]]:
    """The critic that does best on `kept`, and the estimate there after each epoch, in nats.

    samples: as `as_seen` returns them. images: n where X is uniform on so many, None where images are a sample.
    EstimationError if training diverges.
    """
    device = samples.x.device
    batch = min(options.batch, len(train.images))
    critic = SeparableCritic(
        samples.x.shape[2], samples.y.shape[2], options.hidden, options.embedding, generator(*seed, "critic")
    ).to(device)
    judge = _Judge(objective, samples, Part(kept.images[:KEPT_IMAGES], kept.draws), images)
    best = _Best(critic, judge(critic))
    _try_starts(best, critic, samples, train, judge, options.embedding)
    critic.load_state_dict(best.weights)
    average = copy.deepcopy(critic)
    optimiser = torch.optim.AdamW(
        critic.parameters(),
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )
    rng = generator(*seed, "batches", device=device)
    share = objective.share(batch, images)
    draws = torch.tensor(train.draws, device=device)
    batches = len(train.images) // batch
    curve: list[float] = []
    taken = 0

    for rate in (options.learning_rate, options.learning_rate / 5):
        critic.load_state_dict(best.weights)
        average.load_state_dict(best.weights)
        since, to_pass = 0, best.merit + LEAST_GAIN
        while since < options.patience and len(curve) < options.max_epochs:
            for _ in range(math.ceil(options.steps / batches)):
                order = train.images[torch.randperm(len(train.images), generator=rng, device=device)]
                for chosen in order[: batches * batch].view(batches, batch):
                    drawn = draws[torch.randint(len(draws), (batch,), generator=rng, device=device)]
                    loss = objective.loss(critic(*samples.pick(chosen, drawn)), share)
                    optimiser.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(critic.parameters(), options.grad_clip)
                    taken += 1
                    for group in optimiser.param_groups:
                        group["lr"] = rate * min(1.0, taken / WARM_UP)
                    optimiser.step()
                    with torch.no_grad():
                        torch._foreach_lerp_(
                            list(average.parameters()), list(critic.parameters()), 1 - options.averaging
                        )
            verdict = judge(average)
            if not (math.isfinite(verdict.value) and bool(loss.isfinite())):
                raise EstimationError(
                    f"the critic diverged in epoch {len(curve) + 1}: the values are too large for learning rate "
                    f"{options.learning_rate:g}"
                )
            curve.append(verdict.value)
            best.offer(average, verdict)
            since += 1
            if verdict.merit > to_pass:
                since, to_pass = 0, verdict.merit + LEAST_GAIN
    critic.load_state_dict(best.weights)
    return critic, curve


@dataclass(frozen=True)
class _Verdict:
    value: float
    """The estimate, nats."""
    merit: float
    """What critics are compared by: the mean of the objective's merit less its standard error over images, so that few
    images have little to say."""


class _Judge:
    """critic -> _Verdict on the samples kept back."""

    def __init__(self, objective: InfoNCE, samples: PairedSamples, kept: Part, images: int | None):
        self.objective = objective
        self.rows = kept.rows(samples, KEPT_DRAWS)
        self.share = objective.share(len(kept.images), images)

    @torch.no_grad()
    def __call__(self, critic: SeparableCritic) -> _Verdict:
        values, merits = [], []
        for x, y in self.rows:
            scores = critic(x, y)
            values.append(self.objective.terms(*own_and_marginal(scores, self.share, self.objective.clip)).mean())
            merits.append(self.objective.merit(scores, self.share))
        merit = torch.stack(merits).double().mean(0)  # over an image's draws first
        error = float(merit.std()) / math.sqrt(len(merit))
        return _Verdict(float(torch.stack(values).double().mean()), float(merit.mean()) - error)


class _Best:
    """The best critic so far."""

    def __init__(self, critic: SeparableCritic, verdict: _Verdict):
        self.merit = verdict.merit
        self.weights = copy.deepcopy(critic.state_dict())

    def offer(self, critic: SeparableCritic, verdict: _Verdict) -> None:
        if verdict.merit > self.merit:
            self.merit, self.weights = verdict.merit, copy.deepcopy(critic.state_dict())


def _try_starts(
    best: _Best, critic: SeparableCritic, samples: PairedSamples, train: Part, judge: _Judge, most: int
) -> None:
    """Offers `best` a Gaussian's log ratio, held back more and less, against the critic's own start, which says 0."""
    rows = train.rows(samples, max(1, START_ROWS // len(train.images)))
    start = CanonicalStart(*(torch.cat(v) for v in zip(*rows, strict=True)))
    own = copy.deepcopy(critic.state_dict())
    for ridge in RIDGES:
        directions = start.directions(ridge, most)
        for shrink in SHRINKS:
            critic.load_state_dict(own)
            start.put(critic, directions, shrink)
            best.offer(critic, judge(critic))
