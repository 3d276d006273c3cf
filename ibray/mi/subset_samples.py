"""The variables of one subset of one snapshot, as the estimators of all its quantities see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Draws(NamedTuple):
    """Noisy forward passes: M draws for each of N images, draw m of every tensor from the same pass."""

    layers: Mapping[str, Tensor]
    """Layer -> (N, M, D) float32; "T" is the last hidden one, others are there when they were asked for."""
    logits: Tensor
    """(N, M, K) float32."""


class LastLayer(NamedTuple):
    """How a network's logits come from T: weight (K, D), bias (K,), logits = weight (T + sigma e) + bias."""

    weight: Tensor
    bias: Tensor
    sigma: float


@dataclass(frozen=True)
class SubsetSamples:
    """N images of a snapshot's training set and what the noisy network made of them, on one device."""

    images: Tensor
    """(N, ...) uint8 or float, as trained on."""
    labels: Tensor
    """(N,) int64, as trained on."""
    is_backdoor: Tensor
    """(N,) bool, B."""
    draws: Draws
    output: str
    """What Yhat is: "logits" or "softmax"."""
    last_layer: LastLayer | None = None
    """None where the network has none that is known."""
    redraw: Callable[[int], Draws] | None = None
    """round -> as many new, independent draws of the same images; None where no more can be had."""

    @property
    def n(self) -> int:
        return len(self.images)

    @property
    def pixels(self) -> Tensor:
        """(N, D) float32; uint8 is scaled to [0, 1], as the network sees it."""
        flat = self.images.flatten(1)
        return flat.float() / 255 if flat.dtype == torch.uint8 else flat

    @property
    def yhat(self) -> Tensor:
        """(N, M, K)."""
        return self.draws.logits.softmax(-1) if self.output == "softmax" else self.draws.logits

    @property
    def backdoor_column(self) -> Tensor:
        """B as (N, 1) float32."""
        return self.is_backdoor.float().unsqueeze(1)

    @property
    def one_hot_labels(self) -> Tensor:
        """Y as (N, K) float32."""
        return torch.nn.functional.one_hot(self.labels, self.draws.logits.shape[2]).float()
