"""The epochs of one critic's training under the paper's recipe, whether it is trained by itself or among others."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ibray.mi.interface import EstimationError
from ibray.mi.samples import PairedSamples
from ibray.seeds import generator

if TYPE_CHECKING:
    from ibray.mi.infonce import InfoNCESettings


class CriticEpochs:
    """The epochs of one critic's training: what is drawn, what was read, the learning rate, when to stop."""

    def __init__(self, samples: PairedSamples, options: InfoNCESettings, seed: int):
        self.n, self.draws, self.device, self.options = samples.n, samples.draws, samples.x.device, options
        self.batch = min(options.batch, samples.n)
        self.curve: list[float] = []
        self._rng = generator(seed, "batches", device=self.device)
        self._recent: deque[Tensor] = deque(maxlen=options.report_last)
        # torch's scheduler wants an optimiser; this one's only job is to hold the learning rate.
        self._rate = torch.optim.SGD([torch.zeros(())], lr=options.learning_rate)
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self._rate, factor=options.plateau_factor, patience=options.plateau_patience
        )

    @property
    def learning_rate(self) -> float:
        return self._rate.param_groups[0]["lr"]

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return self.n // self.batch

    @property
    def go_on(self) -> bool:
        return len(self.curve) < self.options.max_epochs and not _settled(self.curve, self.options)

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The next epoch: images (B,), their noise draws (B,) and negatives' positions in the batch (B, K) per step."""
        shape = (self.steps, self.batch)
        order = torch.randperm(self.n, generator=self._rng, device=self.device)[: self.steps * self.batch].view(shape)
        draws = torch.randint(self.draws, shape, generator=self._rng, device=self.device)
        self._visited = order.flatten()
        self._epoch = torch.full((self.n,), math.nan, device=self.device)
        for images, drawn in zip(order, draws, strict=True):
            indices = torch.randint(
                self.batch, (self.batch, self.options.negatives), generator=self._rng, device=self.device
            )
            yield images, drawn, indices

    def note(self, images: Tensor, terms: Tensor) -> None:
        """The terms (B,) of a batch that was trained on."""
        self._epoch[images] = terms

    def end(self) -> None:
        """After an epoch's last batch. Raises EstimationError when the critic has diverged."""
        estimate = float(self._epoch[self._visited].cpu().double().mean())  # the epoch's only wait for the device
        if not math.isfinite(estimate):
            raise EstimationError(
                f"the critic diverged in epoch {len(self.curve) + 1}: the values are too large for learning rate "
                f"{self.options.learning_rate:g}"
            )
        self.curve.append(estimate)
        self._recent.append(self._epoch)
        # The cross-entropy, not -estimate: torch's relative threshold means the opposite below 0.
        self._plateau.step(math.log(self.options.negatives + 1) - estimate)

    def reported(self) -> Tensor:
        """The terms of the epochs that count, (epochs, N), NaN where an image was not in a batch."""
        return torch.stack(tuple(self._recent)).cpu()


def _settled(curve: list[float], options: InfoNCESettings) -> bool:
    r = options.report_last
    if options.early_stop_delta is None or len(curve) < 2 * r:
        return False
    return abs(sum(curve[-r:]) - sum(curve[-2 * r : -r])) / r < options.early_stop_delta
