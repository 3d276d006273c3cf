"""WaNet: a smooth, fixed warp of the whole image (Nguyen and Tran, ICLR 2021, arXiv 2102.10369)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ibray.attacks.base import AttackEntry, Parts
from ibray.attacks.dirty_label import DirtyLabelAttack
from ibray.attacks.parameters import at_least_zero, integer, number
from ibray.attacks.per_image import hash_weights, uniform_pairs
from ibray.attacks.poisoning import half_up

_CHUNK = 64  # images warped at a time: their grids and hashes in 64 bits stay in the CPU's cache (3 times faster)
_CROSS_JITTER = 1.0  # U[-1,1]/H, as published


@dataclass(frozen=True, kw_only=True)
class WaNet(DirtyLabelAttack):
    """Samples the image at positions moved by a smooth field; the same field in training and test.

    Positions run from -1 to 1 over each side. k: the field is drawn on k x k points and up-sampled. s: its strength,
    at least 0; the mean size of an entry before up-sampling is s/H (s/W across): half of s in pixels. grid_rescale:
    positions are multiplied by it, above 0; less than 1 keeps them inside the image. jitter: at least 0; positions
    are moved further by U[-jitter, jitter]/H, for every pixel and image anew: a fixed function of ``field_seed`` and
    the image, so that an image always gets the same. field_seed: of the field; not the run's seed, so that every
    run of a grid has the same trigger. Positions beyond the border are moved onto it. cross_ratio: at least 0; so many
    cover images for every backdoor image, warped by the field and moved further by U[-1,1]/H, that keep their labels:
    the original's "noise mode", with which a network learns this field and not just any warp.
    """

    name: ClassVar[str] = "wanet"

    k: int = 4
    s: float = 0.5
    grid_rescale: float = 1.0
    jitter: float = 1.0
    cross_ratio: float = 0.0
    field_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "k", integer(self.name, "k", self.k, minimum=1))
        for key in ("s", "grid_rescale", "jitter", "cross_ratio"):
            object.__setattr__(self, key, number(self.name, key, getattr(self, key)))
        object.__setattr__(self, "field_seed", integer(self.name, "field_seed", self.field_seed, minimum=0))

    def check(self, image_shape: tuple[int, int, int], num_classes: int, target: int) -> None:
        super().check(image_shape, num_classes, target)
        _, height, width = image_shape
        if self.k > min(height, width):
            raise ValueError(f"k: a field of {self.k} x {self.k} points is larger than {height} x {width} images")
        for key in ("s", "jitter", "cross_ratio"):
            at_least_zero(key, getattr(self, key))
        if self.grid_rescale <= 0:
            raise ValueError(f"grid_rescale: expected a value above 0, got {self.grid_rescale}")

    def divide(self, count: int) -> tuple[int, int]:
        return count, half_up(self.cross_ratio, count)

    def parts(self, image_shape: tuple[int, int, int]) -> dict[str, Tensor]:
        """field: the up-sampled field before s/H, float64 H,W,2, moves across (x) and down (y); hash_weights: int64."""
        parts = {"field": _draw(self.k, self.field_seed, image_shape[1], image_shape[2]).clone()}
        if self.jitter or self.cross_ratio:
            parts["hash_weights"] = hash_weights(self.field_seed, *image_shape).clone()
        return parts

    def apply(self, images: Tensor, parts: Parts) -> Tensor:
        return self._warp(images, parts, self.jitter)

    def apply_to_cover(self, images: Tensor, parts: Parts) -> Tensor:
        return self._warp(images, parts, _CROSS_JITTER)

    def _warp(self, images: Tensor, parts: Parts, jitter: float) -> Tensor:
        return torch.cat([self._warp_few(part, parts, jitter) for part in images.split(_CHUNK)])

    def _warp_few(self, images: Tensor, parts: Parts, jitter: float) -> Tensor:
        count, _, height, width = images.shape
        # float64 throughout: in float32 positions are off by 1e-6 pixels, enough to turn a byte's rounding
        sides = torch.tensor([width, height], dtype=torch.float64, device=images.device)
        grid = (_identity(height, width).to(images.device) + self.s * parts["field"] / sides) * self.grid_rescale
        grid = grid.expand(count, -1, -1, -1)
        if jitter:
            moves = uniform_pairs(images, height * width, parts["hash_weights"]).unflatten(1, (height, width))
            # clamped before it as well, as published
            grid = grid.clamp(-1, 1) + jitter * moves / sides
        warped = F.grid_sample(
            images.double(), grid.clamp(-1, 1), mode="bilinear", padding_mode="border", align_corners=True
        )
        return warped.to(images)


def _identity(height: int, width: int) -> Tensor:
    """Where every pixel is: float64 H,W,2."""
    rows, columns = (torch.linspace(-1, 1, side, dtype=torch.float64) for side in (height, width))
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)


@lru_cache(maxsize=8)
def _draw(k: int, seed: int, height: int, width: int) -> Tensor:
    points = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (1, 2, k, k)))
    points = points / points.abs().mean()
    field = F.interpolate(points, size=(height, width), mode="bicubic", align_corners=True)
    return field[0].permute(1, 2, 0)


ENTRY = AttackEntry(
    cls=WaNet,
    description="a smooth, fixed warp of the whole image",
    source="Nguyen and Tran, arXiv 2102.10369; preset 'paper' as run for arXiv 2511.21923",
    presets={
        "paper": {"k": 4, "s": 0.5, "grid_rescale": 1.0, "jitter": 1.0},
        "original": {"k": 4, "s": 0.5, "grid_rescale": 1.0, "jitter": 0.0, "cross_ratio": 2.0},
    },
)
