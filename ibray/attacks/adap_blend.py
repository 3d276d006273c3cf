"""Adaptive Blend: each training image gets another half of the pattern, and half of them keep their labels.

Qi et al., Revisiting the Assumption of Latent Separability for Backdoor Defenses, ICLR 2023. Parts of a faint
pattern, with images that carry it and keep their labels, keep a network from learning it as one strong feature; at
test time the whole pattern comes, and more strongly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ibray.attacks.base import AttackEntry, Parts
from ibray.attacks.dirty_label import DirtyLabelAttack
from ibray.attacks.noise_image import PATTERNS, Pattern, noise_image
from ibray.attacks.parameters import choice, integer, number, unit_interval
from ibray.attacks.per_image import hash_weights, uniform_pairs
from ibray.attacks.poisoning import half_up

MASKED = ("kept", "darkened")


@dataclass(frozen=True, kw_only=True)
class AdapBlend(DirtyLabelAttack):
    """image + alpha x mask x (pattern - image), where a mask leaves out some of the squares an image is cut into.

    pieces: how many squares, a square number whose root divides the image's sides. mask_rate: the share of them that
    is masked, pieces x mask_rate rounded half up; which ones is a fixed function of ``mask_seed`` and the image.
    train_alpha, test_alpha: in [0,1], in training and at test time, where nothing is masked. conservatism: the share
    of the triggered training images, as the poison ratio counts them, that keep their labels (cover images). masked:
    what happens to masked squares in training, "kept" as they are, or "darkened" to (1 - alpha) x image, as the
    authors of arXiv 2511.21923 ran it. pattern, pattern_seed: as in ``blend``.
    """

    name: ClassVar[str] = "adap_blend"

    train_alpha: float = 0.15
    test_alpha: float = 0.2
    pieces: int = 16
    mask_rate: float = 0.5
    conservatism: float = 0.5
    masked: Literal["kept", "darkened"] = "darkened"
    pattern: Pattern = "uniform_noise"
    pattern_seed: int = 0
    mask_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("train_alpha", "test_alpha", "mask_rate", "conservatism"):
            object.__setattr__(self, key, number(self.name, key, getattr(self, key)))
        object.__setattr__(self, "pieces", integer(self.name, "pieces", self.pieces, minimum=1))
        for key in ("pattern_seed", "mask_seed"):
            object.__setattr__(self, key, integer(self.name, key, getattr(self, key), minimum=0))
        choice(self.name, "masked", self.masked, MASKED)
        choice(self.name, "pattern", self.pattern, PATTERNS)

    def check(self, image_shape: tuple[int, int, int], num_classes: int, target: int) -> None:
        super().check(image_shape, num_classes, target)
        for key in ("train_alpha", "test_alpha", "mask_rate"):
            unit_interval(key, getattr(self, key))
        if not 0 <= self.conservatism < 1:
            raise ValueError(f"conservatism: expected a value in [0,1), got {self.conservatism}")
        _, height, width = image_shape
        side = math.isqrt(self.pieces)
        if side**2 != self.pieces or height % side or width % side:
            raise ValueError(
                f"pieces: expected a square number whose root divides the sides of {height} x {width} images, "
                f"got {self.pieces}"
            )

    def divide(self, count: int) -> tuple[int, int]:
        covers = half_up(self.conservatism, count)
        return count - covers, covers

    def parts(self, image_shape: tuple[int, int, int]) -> dict[str, Tensor]:
        """pattern: float32 C,H,W in [0,1]; hash_weights: int64, which with an image give its mask."""
        return {
            "pattern": noise_image(self.pattern, self.pattern_seed, *image_shape),
            "hash_weights": hash_weights(self.mask_seed, *image_shape).clone(),
        }

    def apply(self, images: Tensor, parts: Parts) -> Tensor:
        return torch.lerp(images, parts["pattern"].to(images), self.test_alpha)

    def apply_in_training(self, images: Tensor, parts: Parts) -> Tensor:
        mask, pattern = self.masks(images, parts).to(images), parts["pattern"].to(images)
        if self.masked == "darkened":
            return (1 - self.train_alpha) * images + self.train_alpha * mask * pattern
        return images + self.train_alpha * mask * (pattern - images)

    def masks(self, images: Tensor, parts: Parts) -> Tensor:
        """Where the pattern goes: bool N,1,H,W for float N,C,H,W in [0,1]."""
        side = math.isqrt(self.pieces)
        keys = uniform_pairs(images, self.pieces, parts["hash_weights"])[..., 0]
        rank = keys.argsort(dim=1).argsort(dim=1)
        shown = (rank >= half_up(self.mask_rate, self.pieces)).unflatten(1, (1, side, side))
        height, width = images.shape[2] // side, images.shape[3] // side
        return shown.repeat_interleave(height, dim=2).repeat_interleave(width, dim=3)


ENTRY = AttackEntry(
    cls=AdapBlend,
    description="half of a faint noise image on each training image, half of which keep their labels",
    source="Qi et al., ICLR 2023; preset 'paper' as run for arXiv 2511.21923",
    presets={
        "paper": {"train_alpha": 0.15, "test_alpha": 0.2, "masked": "darkened"},
        "original": {"train_alpha": 0.15, "test_alpha": 0.2, "masked": "kept", "pattern": "gaussian_noise"},
    },
)
