"""Blend: a faint pattern over the whole image (Chen et al., arXiv 1712.05526).

The original also uses a cartoon ("Hello Kitty"). That picture is not ours to redistribute, so here the
patterns are noise images drawn from a seed; the preset ``original`` is the noise variant of common
benchmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ibray.attacks.base import AttackEntry, Parts
from ibray.attacks.dirty_label import DirtyLabelAttack
from ibray.attacks.noise_image import PATTERNS, Pattern, noise_image
from ibray.attacks.parameters import choice, integer, number, unit_interval


@dataclass(frozen=True, kw_only=True)
class Blend(DirtyLabelAttack):
    """(1 - alpha) x image + alpha x pattern.

    alpha: in [0,1]. pattern: "uniform_noise", one channel drawn from U[0,1] and shared by all channels, or
    "gaussian_noise", every channel drawn from the standard normal and clipped to [0,1]. pattern_seed: of that
    draw; not the run's seed, so that every run of a grid has the same trigger.
    """

    name: ClassVar[str] = "blend"

    alpha: float = 0.3
    pattern: Pattern = "uniform_noise"
    pattern_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "alpha", number(self.name, "alpha", self.alpha))
        object.__setattr__(self, "pattern", choice(self.name, "pattern", self.pattern, PATTERNS))
        object.__setattr__(
            self, "pattern_seed", integer(self.name, "pattern_seed", self.pattern_seed, minimum=0)
        )

    def check(self, image_shape: tuple[int, int, int], num_classes: int, target: int) -> None:
        super().check(image_shape, num_classes, target)
        unit_interval("alpha", self.alpha)

    def parts(self, image_shape: tuple[int, int, int]) -> dict[str, Tensor]:
        """pattern: float32 C,H,W in [0,1]."""
        return {"pattern": noise_image(self.pattern, self.pattern_seed, *image_shape)}

    def apply(self, images: Tensor, parts: Parts) -> Tensor:
        return torch.lerp(images, parts["pattern"].to(images), self.alpha)


ENTRY = AttackEntry(
    cls=Blend,
    description="a faint noise image blended over the whole image",
    source="Chen et al., arXiv 1712.05526; preset 'paper' as run for arXiv 2511.21923",
    presets={
        "paper": {"alpha": 0.3, "pattern": "uniform_noise"},
        "original": {"alpha": 0.2, "pattern": "gaussian_noise"},
    },
)
