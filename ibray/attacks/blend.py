"""Blend: a faint pattern over the whole image (Chen et al., arXiv 1712.05526).

The original also uses a cartoon ("Hello Kitty"). That picture is not ours to redistribute, so here the
patterns are noise images drawn from a seed; the preset ``original`` is the noise variant of common
benchmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ibray.attacks.base import Attack, AttackEntry
from ibray.attacks.parameters import choice, integer, number
from ibray.attacks.poisoning import Policy

PATTERNS = ("uniform_noise", "gaussian_noise")


@dataclass(frozen=True, kw_only=True)
class Blend(Attack):
    """(1 - alpha) x image + alpha x pattern.

    alpha: in [0,1]. pattern: "uniform_noise", one channel drawn from U[0,1] and shared by all channels, or
    "gaussian_noise", every channel drawn from the standard normal and clipped to [0,1]. pattern_seed: of that
    draw; not the run's seed, so that every run of a grid has the same trigger.
    """

    name: ClassVar[str] = "blend"
    poisons: ClassVar[Policy] = "train_set"

    alpha: float = 0.3
    pattern: Literal["uniform_noise", "gaussian_noise"] = "uniform_noise"
    pattern_seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "alpha", number(self.name, "alpha", self.alpha))
        object.__setattr__(self, "pattern", choice(self.name, "pattern", self.pattern, PATTERNS))
        object.__setattr__(
            self, "pattern_seed", integer(self.name, "pattern_seed", self.pattern_seed, minimum=0)
        )

    def check(self, image_shape: tuple[int, int, int], num_classes: int, target: int) -> None:
        super().check(image_shape, num_classes, target)
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha: expected a value in [0,1], got {self.alpha}")

    def apply(self, images: Tensor) -> Tensor:
        return torch.lerp(images, self.pattern_image(tuple(images.shape[1:])).to(images), self.alpha)

    def pattern_image(self, image_shape: tuple[int, int, int]) -> Tensor:
        """The pattern for C,H,W images: float32 C,H,W in [0,1]."""
        return _draw(self.pattern, self.pattern_seed, *image_shape).clone()


@lru_cache(maxsize=8)
def _draw(pattern: str, seed: int, channels: int, height: int, width: int) -> Tensor:
    rng = np.random.default_rng(seed)
    if pattern == "uniform_noise":
        image = np.repeat(rng.random((1, height, width)), channels, axis=0)
    else:
        image = rng.standard_normal((channels, height, width)).clip(0, 1)
    return torch.from_numpy(image.astype(np.float32))


ENTRY = AttackEntry(
    cls=Blend,
    description="a faint noise image blended over the whole image",
    source="Chen et al., arXiv 1712.05526; preset 'paper' as run for arXiv 2511.21923",
    presets={
        "paper": {"alpha": 0.3, "pattern": "uniform_noise"},
        "original": {"alpha": 0.2, "pattern": "gaussian_noise"},
    },
)
